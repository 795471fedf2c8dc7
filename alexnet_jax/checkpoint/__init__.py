"""Checkpoints of the training state and of the position in the data.

A step is a folder with three orbax items, `state` (TrainState), `data` (the
grain iterator's state) and `meta` (JSON, layout.Meta), and files.json with the
CRC-32 of every file in them. Arrays are stored whole, so a mesh of any shape
can read them.

layout        folders and metadata, and cleaning up after a killed process
save          writing in the background
restore       reading, with every checksum compared
checksums     digests of arrays, CRC-32 of files
compatible    whether a config and data fit a checkpoint
inspect       a report on the checkpoints of a run
orbax_quirks  options and silence for orbax
bucket_sync   a workdir on a bucket, through a local folder
"""
