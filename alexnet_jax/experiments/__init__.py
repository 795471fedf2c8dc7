"""Comparisons of the paper, each of many runs.

fig1      ReLU against tanh (Figure 1)
study     ablations with paired seeds; each run is a process of its own
transfer  fine-tuning against training from scratch (§6)

processes   commands beside each other
provenance  which images results are of
"""
