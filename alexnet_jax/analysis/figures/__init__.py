"""Figures of a run; these modules, and no others, need matplotlib.

- curves: loss, errors and learning rate over epochs
- kernels: conv1, a block for each column (Figure 3)
- examples: images with their most probable labels (Figure 4, left)
- neighbours: nearest images in fc7 and in pixels (Figure 4, right)
- classes: the error of each class
- layers: spread of activations, and how fast kernels move
- fig1: training error with ReLU and with tanh (Figure 1)
- paired: what ablations cost
- style: colours and fonts; figures as PNG and SVG

Each makes a matplotlib Figure, without pyplot: no display and no state is left.
"""
