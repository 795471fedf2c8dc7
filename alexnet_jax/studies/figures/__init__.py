"""Figures of runs; nothing else imports matplotlib.

Each `figure` returns a matplotlib Figure, made without pyplot, so that no
display and no global state is involved.

  curves      loss, errors and learning rate over epochs
  kernels     kernels of conv1, a block per column (Figure 3)
  examples    images with their most probable labels (Figure 4, left)
  neighbours  nearest images in fc7 and in pixels (Figure 4, right)
  classes     the error of each class
  layers      spread of activations, velocities relative to weights
  fig1        training error of ReLU and tanh (Figure 1)
  paired      paired differences between ablations and their base
  bands       errors of ablated nets over epochs, all seeds
  compared    curves of several runs
  style       colours and fonts; writes figures as PNG and SVG
"""
