"""Experiments of many runs, each a process of its own (not in the paper)."""
