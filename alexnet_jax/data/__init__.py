"""Images in: data sets, their preparation, augmentation and batches (§2, §4.1).

numpy, PIL and grain only: what leaves this package are numpy arrays, and the
device work (mean subtraction, mirror, colour shift) happens inside the step.
"""
