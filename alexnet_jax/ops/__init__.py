"""The network's operations (paper §3.3-3.5): pure functions of arrays.

Nothing here knows about layers, parameters or meshes (`columns` alone knows
mesh axes by name). Images are NHWC, kernels HWIO. Every op has one meaning on
every backend; where the form differs by backend, only the speed does.
"""
