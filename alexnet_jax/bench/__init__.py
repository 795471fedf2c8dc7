"""Benchmarks; results/ holds their rows, each with the conditions it is of.

settings   what to measure, from the flags
step       training steps, ten views, other meshes and batches
ops        each operation
input      preparing and reading images;  end_to_end  steps fed from records
multihost  one process beside several
jax_step, jax_ops, workers  the processes that measure, and their protocol
baselines  PyTorch, numpy
rows, tables  results as JSON, Markdown and text
"""
