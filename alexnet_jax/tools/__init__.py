"""One command a module: python -m alexnet_jax.tools.NAME --help."""
