"""Ablations of a config with paired seeds, as a table and a page.

study   which runs there are, and their results on disk
jobs    the processes that train them
paired  differences between runs with the same seeds
table   the results as text;  page  as HTML
"""
