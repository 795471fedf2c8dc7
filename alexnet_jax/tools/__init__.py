"""One command a module: alexnet-jax NAME, or python -m alexnet_jax.tools.NAME.

  alexnet-jax train --config=quick --workdir=/tmp/quick

Nothing is imported here that takes time: the module that a command runs imports
what it needs.
"""

import ast
import difflib
import pathlib
import pkgutil
import runpy
import sys

from alexnet_jax.runtime import malloc

_MAIN = 'alexnet_jax.main'
_MODES = {  # of alexnet_jax.main
  'train': 'Trains a network, or resumes a run that was stopped.',
  'eval': 'Evaluates checkpoints on the validation images of a data set.',
  'summary': 'Prints the layers of a network, with sizes and parameters.',
}


def command() -> None:
  """Runs `alexnet-jax NAME [FLAGS]` as python -m runs the module of NAME.

  Flags alone go to alexnet_jax.main. Exits with the code of the module, or with
  2 if there is no such command.
  """
  malloc.ask_for_large_pages()
  name, *flags = sys.argv[1:] or ['--help']
  if name in ('--help', '-h', 'help'):
    print(usage())
  elif name.startswith('-'):
    _run(_MAIN, name, *flags)
  elif name in _MODES:
    _run(_MAIN, f'--mode={name}', *flags)
  elif name in _modules():
    _run(f'{__name__}.{name}', *flags)
  else:
    near = difflib.get_close_matches(name, [*_MODES, *_modules()], n=1)
    there = f'there is {near[0]}; ' if near else ''
    print(
      f'error: {name!r} is no command: {there}alexnet-jax --help lists all',
      file=sys.stderr,
    )
    sys.exit(2)


def usage() -> str:
  """The commands, each with the first line of its module's docstring."""
  whats = _MODES | {name: _first_line(name) for name in _modules()}
  rows = [f'  {name:12}{what}' for name, what in whats.items()]
  return '\n'.join(
    [
      'alexnet-jax COMMAND [FLAGS]',
      '',
      *rows,
      '',
      'alexnet-jax COMMAND --help lists the flags of a command. For example:',
      '  alexnet-jax train --config=quick --workdir=/tmp/quick',
    ]
  )


def _modules() -> list[str]:
  return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _first_line(name: str) -> str:
  text = (pathlib.Path(__path__[0]) / f'{name}.py').read_text('utf-8')
  return (ast.get_docstring(ast.parse(text)) or '').partition('\n')[0]


def _run(module: str, *flags: str) -> None:
  sys.argv[1:] = flags
  # As __main__, so that processes which it starts import it, not this.
  runpy.run_module(module, run_name='__main__', alter_sys=True)
