"""The files of configs/, beside this package in a checkout.

A wheel has them here: `from alexnet_jax.configs import default` works in both.
"""

import pathlib

_checkout = pathlib.Path(__file__).parents[2] / 'configs'
if (_checkout / 'default.py').is_file():
  __path__ = [str(_checkout)]
