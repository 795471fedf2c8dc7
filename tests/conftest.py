"""Every test: four CPU devices, and no silent change of dtype or rank."""

import jax

jax.config.update('jax_num_cpu_devices', 4)
# Compiling takes most of the time of these tests; they check the program.
jax.config.update('jax_disable_most_optimizations', True)
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')
