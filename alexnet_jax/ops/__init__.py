"""The network's operations (paper §3.3-3.5): pure functions of arrays.

They take arrays, not layers or parameters. Inside `shard_map`, `columns` names
a mesh axis; `platform` and `products` ask for the kind of device and the axes.
Images are NHWC, kernels HWIO. An op computes the same on every backend up to
rounding; its form may differ, for speed.
"""
