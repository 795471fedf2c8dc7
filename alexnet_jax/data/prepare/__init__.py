"""Prepares a data set for training: squares, records and statistics (§2).

Training never imports this package; it reads the folder that `run` writes.

  sources     finds out what a source is and lists its images
  layouts     what a list of images is; divides it anew
  folders     layouts of folders and archives, from files (what is an image),
              trees (where splits lie, by the words of splits), naming (which
              class, by labels in files) and classes (their order and names)
  ilsvrc      the official tars;  parquet  webdataset  cifar  by names
  archives    lists members of archives: tar and zips read them in place,
              unpacked decompresses tars first
  shards      writes records;  workers  does so in several processes
  statistics  mean image and RGB components of a data set as it is
  run         all of it; continues after an interruption
"""
