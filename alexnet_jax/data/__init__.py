"""Data sets, augmentation and batches (paper §2, §4.1).

Everything here is numpy, PIL and grain, without jax. Mean subtraction, the
mirror and the colour shift happen on the device (steps/preprocess).

  dataset      what a data set is;  stats  its mean image and RGB components
  sources      opens one by name, from synthetic, records or tfds
  metadata     metadata.json of prepared records;  download  copies from buckets
  images       decodes an image file into a square;  filenames  lists folders
  augment      random crops, mirrors and colours;  pipeline  batches
  bad_records  counts damaged images
  prepare/     writes prepared records; training never imports it
"""
