"""Kernels for GPUs, written in Pallas; config.kernels = 'pallas' uses them.

This file imports nothing: the kernels are loaded where they are used.
"""

MOST_CHANNELS = 256  # of a column: more do not fit into a core's memory
# Ops of a layer that one kernel computes, and when that rectifies: block.Block.
ORDERS = {
  ('activation', 'lrn', 'pool'): 'first',  # §3.5
  ('lrn', 'pool', 'activation'): 'last',  # conv1 of the 2012 program
}
