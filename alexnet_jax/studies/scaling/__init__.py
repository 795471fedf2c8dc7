"""What a step should cost on 1 to 1,024 devices, calculated, not measured.

links  bandwidths and latencies, with their sources
model  time of a training step: compute and collectives
plan   the tables of tools/plan.py
"""
