"""Checkpoints: the training state, the place in the data, and what they are of.

A step is a folder with three orbax items, `state` (TrainState), `data` (the
grain iterator's state) and `meta` (JSON, layout.Meta), and files.json with the
CRC-32 of every file in them. Parameters are whole arrays whatever mesh wrote
them, so any mesh can read them. Not in the paper.

  layout   what lies where in a workdir, and what a killed process leaves
  store    writing
  restore  reading, with every sum checked
  first    by process 0 alone
  mirror   a workdir on a bucket, and its copy here
"""
