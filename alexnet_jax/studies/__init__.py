"""Comparisons and pictures of the paper, from runs that have ended.

The core never imports this package.

  report/        WORKDIR/report/index.html, one run or several side by side
  figures/       the drawing of figures; matplotlib is imported here alone
  retrieval/     nearest images in fc7 and by short codes (§6.1)
  ablation/      ablations with paired seeds
  fig1/          ReLU against tanh (Figure 1)
  transfer       fine-tuning against training from scratch (§6)
  communication  what the compiled steps move between devices
  scaling        times of larger meshes, from that and published bandwidths
  provenance     which images a folder of results is of
"""
