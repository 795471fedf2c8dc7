"""Comparisons and pictures of the paper, from runs that have ended.

The core never imports this package.

  report/        WORKDIR/report/index.html, one run or several side by side
  figures/       the drawing of figures; matplotlib is imported here alone
  retrieval/     nearest images in fc7 and by short codes (§6.1)
  ablation/      ablations with paired seeds
  fig1/          ReLU against tanh (Figure 1)
  scaling/       calculated times of larger meshes
  transfer       fine-tuning against training from scratch (§6)
  communication  bytes that steps move between devices;  audit  as text
  provenance     the data set of a folder of results
"""
