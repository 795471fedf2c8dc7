"""Ablations of a config with paired seeds, as a table and a page.

study    the runs, and their results on disk
jobs     the processes that train them
paired   differences between runs with the same seeds
results  errors and costs of each ablation, and their table
page     the HTML page
"""
