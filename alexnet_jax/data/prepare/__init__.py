"""Turning images as they lie on disk into a prepared data set (§2).

Training never imports this package: it reads what `run` has written.

  sources     recognises what a source is
  layouts     lists class folders;  ilsvrc  the official tars;  tfds  TFDS
  tar         reads members of tar files at random
  shards      writes records;  workers  the processes that do so
  statistics  mean image and RGB components of the training split
  run         all of it, continued after an interruption
"""
