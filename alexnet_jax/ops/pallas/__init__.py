"""Kernels for GPUs, written in Pallas; config.kernels = 'pallas' uses them."""
