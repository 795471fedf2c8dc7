"""The examples in the docstrings are true, in JAX as a reader starts it."""

import doctest
import importlib
import pkgutil

import jax
import pytest

PACKAGES = ['alexnet_jax.ops', 'alexnet_jax.optim']
MODULES = ['alexnet_jax.data.augment'] + [
  f'{package}.{module.name}'
  for package in PACKAGES
  for module in pkgutil.iter_modules(importlib.import_module(package).__path__)
]


@pytest.mark.parametrize('name', MODULES)
def test_examples(name):
  module = importlib.import_module(name)
  with (
    jax.numpy_dtype_promotion('standard'),
    jax.numpy_rank_promotion('allow'),
  ):
    assert doctest.testmod(module).failed == 0
