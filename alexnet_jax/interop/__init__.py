"""Weights in and out: files of other programs, and nets as single files."""
