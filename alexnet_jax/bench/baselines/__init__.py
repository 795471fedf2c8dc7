"""PyTorch on the same work, in an interpreter of its own.

Only the torch_*.py scripts import torch; requirements.txt lists what their
environment needs.
"""
