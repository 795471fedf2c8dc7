"""PyTorch on the same work, in an interpreter of its own.

torch is imported in the torch_*.py scripts alone; requirements.txt lists what
their environment needs.
"""
