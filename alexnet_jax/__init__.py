"""AlexNet (Krizhevsky, Sutskever and Hinton, NIPS 2012) as it was trained.

  import alexnet_jax

  net = alexnet_jax.load('runs/default')  # or build('default'), untrained
  print(net.predict('photo.jpg'))

docs/python.md lists what there is.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

__version__ = '0.2.0'

if sys.argv[:1] == ['-m']:  # python -m looks for its module
  from alexnet_jax.runtime import malloc

  if malloc.is_command(__name__):
    malloc.ask_for_large_pages()

if TYPE_CHECKING:
  from alexnet_jax.evaluate.net import Net, build, with_classes
  from alexnet_jax.interop.load import load, save
  from alexnet_jax.studies.explain.explained import explain
  from alexnet_jax.train.by_hand import train_step

# Imported on first use: `import alexnet_jax` alone takes no time, and needs no
# JAX.
_MODULES = {
  'Net': 'evaluate.net',
  'build': 'evaluate.net',
  'with_classes': 'evaluate.net',
  'explain': 'studies.explain.explained',
  'load': 'interop.load',
  'save': 'interop.load',
  'train_step': 'train.by_hand',
}
__all__ = [
  'Net',
  'build',
  'explain',
  'load',
  'save',
  'train_step',
  'with_classes',
]


def __getattr__(name: str) -> Any:
  if name not in _MODULES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(f'{__name__}.{_MODULES[name]}'), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
