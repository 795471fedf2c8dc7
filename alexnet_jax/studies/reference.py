"""Reference tables: every config field, and the flags of every command.

Fields come from config/schema.py and configs/default.py with its comments,
flags from the calls that define them. Sources are parsed and not run.
"""

import ast
import importlib
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from alexnet_jax.config import schema
from alexnet_jax.configs import default

_LAYER = re.compile(r'\b(?:conv\d|fc7_bottleneck|fc\d)\b')
_ALONE = re.compile(r'^§[\d.]+(; )?|, §[\d.]+$')  # it has its own column
_ARGUMENT = r'(?m)^  (\w+): ((?:.|\n    )+)'  # of a docstring
_SECTION = re.compile(r'§\d(?:\.\d)?')
_UNITS = {  # by the last part of a field's name
  'images': 'batch_size base_batch_size embedded_train_images '
  'embedded_val_images max_bad_records probe_images images_per_draw',
  'epochs': 'num_epochs warmup_epochs colour_epochs every_epochs',
  'evaluations': 'patience_epochs',
  'steps': 'total_steps stuck_steps every_steps max_skipped_steps',
  'minutes': 'every_minutes',
  'pixels': 'size stride padding image_size crop_size',
  'grey levels': 'channel_stddevs',
  'parts': 'grad_accumulation_steps',
  'devices': 'data column',
  'columns': 'columns',
  'classes': 'num_classes',
  'kernels': 'n kernels',
  'units': 'units',
  'views': 'final_views',
  'checkpoints': 'keep_newest',
  'threads': 'read_threads',
  'minibatches': 'prefetch_batches',
  'share of the time': 'max_input_wait',
}
_UNIT_OF = {name: u for u, names in _UNITS.items() for name in names.split()}
_ANY = {  # of fields that a layer of a kind has, or that each layer has
  'model.layer.conv': 'model.layer.CONV',
  'model.layer.fc': 'model.layer.FC',
  'optim.decay.': 'optim.decay.LAYER',
  'schedule.layer.': 'schedule.layer.LAYER',
}


class Field(NamedTuple):
  """One row; `says` is a comment of configs/default.py."""

  name: str
  default: str
  values: str
  unit: str
  section: str  # of the paper; '' if it has none
  says: str


def fields(root: pathlib.Path) -> str:
  """The table of config fields as Markdown."""
  heads = ('config.', 'default', 'values', 'unit', 'paper', 'what')
  rows = [
    (f'`{name}`', f'`{value}`', *rest)
    for name, value, *rest in every_field(root)
  ]
  return _table(heads, rows)


def every_field(root: pathlib.Path) -> list[Field]:
  """A row for each field of schema.FIELDS, those of layers taken together."""
  config = default.get_config()
  values = dict(schema.leaves(config))
  said, sections = _said((root / 'configs' / 'default.py').read_text('utf-8'))
  rows: dict[str, Field] = {}
  for path, rule in schema.FIELDS.items():
    name, group = _common(path), path.partition('.')[0]
    shown = repr(values[path])
    if name in rows and rows[name].default != shown:
      shown = 'by layer'
    says = said.get(name.partition('.LAYER')[0], said.get(group, ''))
    rows[name] = Field(
      name,
      shown,
      _values(rule),
      '' if name == 'kernels' else _UNIT_OF.get(name.rpartition('.')[2], ''),
      _nearest(name, sections),
      _ALONE.sub('', says),
    )
  order = list(config)
  return sorted(rows.values(), key=lambda f: order.index(f.name.split('.')[0]))


def _nearest(name: str, sections: dict[str, str]) -> str:
  """The section of a field, or of the nearest group that has one."""
  while name not in sections and '.' in name:
    name = name.rpartition('.')[0]
  return sections.get(name, '')


def _common(path: str) -> str:
  for start, common in _ANY.items():
    if path.startswith(start):
      return common + _LAYER.split(path)[-1]
  return path


def _values(rule: schema.Rule) -> str:
  """'a whole number 1 or more', from the advice for what no field takes."""
  text = rule.advice(object()).removeprefix('use ')
  return f'{text}, or None' if getattr(rule, 'optional', False) else text


def _said(text: str) -> tuple[dict[str, str], dict[str, str]]:
  """What configs/default.py says about fields, and sections, by path."""
  lines, said, docs = text.splitlines(), {}, {}
  functions = {
    node.name: node
    for node in ast.parse(text).body
    if isinstance(node, ast.FunctionDef)
  }
  for name, function in functions.items():
    group = 'eval' if name == 'evaluation' else name
    doc = docs[group] = ast.get_docstring(function) or ''
    said |= _assigned(function, lines=lines, prefix=f'{group}.')
    kind = {'conv': 'CONV', 'dense': 'FC'}.get(name)
    args = re.findall(_ARGUMENT, doc.partition('Args:')[2] if kind else '')
    said |= {f'model.layer.{kind}.{a}': ' '.join(b.split()) for a, b in args}
  said = _assigned(functions['get_config'], lines=lines, prefix='') | said
  whole = {path: what for path, what in said.items() if what}
  found = {p: _SECTION.findall(what) for p, what in (docs | whole).items()}
  return said, {path: ones[0] for path, ones in found.items() if ones}


def _assigned(
  function: ast.FunctionDef, *, lines: list[str], prefix: str
) -> dict[str, str]:
  """The comments before and behind `config.x.y = ...`, by path."""
  found: dict[str, str] = {}
  for node in function.body:
    if not isinstance(node, ast.Assign):
      continue
    path = ast.unparse(node.targets[-1])
    if not path.startswith('config.'):
      continue
    path = prefix + path.removeprefix('config.')
    above, row = [], node.lineno - 2
    while lines[row].strip().startswith('#'):
      above.insert(0, lines[row].strip(' #'))
      row -= 1
    behind = lines[(node.end_lineno or 0) - 1].partition('  # ')[2]
    found.setdefault(path, ' '.join([*above, behind]).strip())
  return found


class Flag(NamedTuple):
  """One flag of a command."""

  name: str
  default: str
  values: str
  what: str


def commands(root: pathlib.Path) -> str:
  """A section with a table for each command, as Markdown."""
  package = root / 'alexnet_jax'
  paths = [package / 'main.py', *sorted((package / 'tools').glob('[a-z]*.py'))]
  return '\n'.join(map(_command, paths))


def _command(path: pathlib.Path) -> str:
  text = path.read_text('utf-8')
  tree = ast.parse(text)
  doc = ast.get_docstring(tree) or ''
  summary, _, rest = doc.partition('\n')
  main = path.name == 'main.py'
  title = 'train, eval, summary' if main else path.stem
  rows = [_flag(call, tree) for call in _definitions(tree)]
  if 'flags_lib.define()' in text:
    rows[:0] = _CONFIG_FLAGS
  shared = ' With the flags of [several processes](#several-processes).'
  return '\n'.join(
    [
      f'## {title}',
      '',
      summary + (shared if main else ''),
      '',
      '```text',
      rest.strip('\n'),
      '```',
      '',
      _flag_table(rows) if rows else 'It has no flags.\n',
    ]
  )


_CONFIG_FLAGS = (
  Flag('config', '', '', 'A name such as `default`, or a file.'),
  Flag('config.FIELD', '', '', 'Sets a field: [configs](configs.md).'),
  Flag('ablation', '', '', 'A comparison of the paper; may be repeated.'),
)


def shared_flags(root: pathlib.Path) -> str:
  """The flags of runs of several processes, as Markdown."""
  path = root / 'alexnet_jax' / 'parallel' / 'flags.py'
  tree = ast.parse(path.read_text('utf-8'))
  return _flag_table([_flag(call, tree) for call in _definitions(tree)])


def _flag_table(rows: list[Flag]) -> str:
  heads = ('flag', 'default', 'values', 'what')
  return _table(heads, [(f'`--{name}`', *rest) for name, *rest in rows])


def _definitions(tree: ast.Module) -> Iterator[ast.Call]:
  for node in ast.walk(tree):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
      if node.func.attr.startswith('DEFINE_') and len(node.args) > 2:
        yield node


def _flag(call: ast.Call, tree: ast.Module) -> Flag:
  kind = ast.unparse(call.func).rpartition('DEFINE_')[2]
  name, default, *rest = call.args
  found = [_evaluate(argument, tree) for argument in rest]
  choices = found.pop(0) if kind == 'enum' else ()
  what, *bounds = found
  names = dict(zip(('lower_bound', 'upper_bound'), bounds, strict=False))
  names |= {word.arg: _evaluate(word.value, tree) for word in call.keywords}
  values = ', '.join(f'`{c}`' for c in choices) or _range(kind, **names)
  return Flag(ast.literal_eval(name), _default(default, tree), values, what)


def _default(node: ast.expr, tree: ast.Module) -> str:
  """A default; where it follows from the machine, what is called for it."""
  if isinstance(node, ast.Call) and not node.args:
    return f'`{ast.unparse(node)}`'
  value = _evaluate(node, tree)
  return '' if value in (None, '', []) else f'`{value}`'


def _range(
  kind: str,
  lower_bound: int | float | None = None,
  upper_bound: int | float | None = None,
) -> str:
  words = {'integer': 'whole number', 'bool': 'switch', 'list': 'A,B,...'}
  text = words.get(kind, kind)
  text += '' if lower_bound is None else f', {lower_bound} or more'
  return text + ('' if upper_bound is None else f', at most {upper_bound}')


def _evaluate(node: ast.expr, tree: ast.Module) -> Any:
  """The value of an argument; names are of imports or constants of the file."""
  try:
    return ast.literal_eval(node)
  except ValueError:
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    known = {name: _named(name, tree) for name in names & {*_places(tree)}}
    return eval(ast.unparse(node), known)  # of our own sources alone


def _places(tree: ast.Module) -> dict[str, ast.stmt]:
  """The statement of a file that gives each name its meaning."""
  found: dict[str, ast.stmt] = {}
  for node in tree.body:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
      found[node.targets[0].id] = node
    elif isinstance(node, ast.ImportFrom):
      found |= {alias.asname or alias.name: node for alias in node.names}
  return found


def _named(name: str, tree: ast.Module) -> Any:
  node = _places(tree)[name]
  if isinstance(node, ast.Assign):
    return _evaluate(node.value, tree)
  assert isinstance(node, ast.ImportFrom)
  (real,) = [a.name for a in node.names if name in (a.asname, a.name)]
  return importlib.import_module(f'{node.module}.{real}')


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  lines = [heads, ['---'] * len(heads), *rows]
  cells = [[c.replace('|', r'\|') or '-' for c in line] for line in lines]
  return ''.join(f'| {" | ".join(line)} |\n' for line in cells)
