"""Interfaces to the operating system, buckets and the compiler.

signals  SIGTERM and Ctrl-C that end a run between two steps
locks    one process at a time in a folder
paths    paths and addresses that a user gives
bucket   files on gs://, s3:// and other stores, through fsspec
compile  compiler options, and compiled programs kept on disk
malloc   large pages for the memory that XLA allocates on a CPU
"""
