"""Measurements, and their rows in results/: each with its conditions."""
