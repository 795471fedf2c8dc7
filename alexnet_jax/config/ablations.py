"""The paper's comparisons, each as the config fields that it changes.

Each is data: a section, what the paper or the authors' notes say it costs, and
the fields it sets. `--ablation=NAME` applies one to any config.
"""

import difflib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import ml_collections

Config = ml_collections.ConfigDict
Overrides = dict[str, Any]  # dotted path: value


class Ablation(NamedTuple):
  """One comparison."""

  section: str  # of the paper
  what: str  # the change, in a line
  effect: str  # on top-1 / top-5 error in percentage points; or in words
  overrides: Callable[[Config], Overrides]  # the fields to set
  family: str = ''  # at most one ablation of a family can be applied
  conflicts: tuple[str, ...] = ()  # others that it cannot be combined with
  # Percentage points of top-1 and top-5 error that it costs in the paper.
  paper: tuple[float | None, float | None] = (None, None)  # None: not given
  run: str = ''  # number of a run with it in the 2012 notes; '': none


def apply(config: Config, names: Sequence[str]) -> dict[str, str]:
  """Applies ablations in place; returns {field that was set: ablation}."""
  refuse_conflicts(names)
  changed = {}
  for name in sorted(names):  # the order of flags must not matter
    overrides = ABLATIONS[name].overrides(config)
    config.update_from_flattened_dict(overrides)
    changed |= dict.fromkeys(overrides, name)
  config.ablations = tuple(sorted(names))  # for config.json and checkpoints
  return changed


def refuse_conflicts(names: Sequence[str]) -> None:
  """Raises ValueError for unknown names and for two that conflict."""
  first = {}
  for name in names:
    if name not in ABLATIONS:
      near = difflib.get_close_matches(name, ABLATIONS, n=1)
      there = f': there is {near[0]}' if near else ''
      raise ValueError(
        f'--ablation={name} is unknown{there}; --ablation=help lists them, and '
        'the flag can be repeated'
      )
    if list(names).count(name) > 1:
      raise ValueError(f'--ablation={name} is given twice: give it once')
    family = ABLATIONS[name].family or name
    clash = [other for other in names if other in ABLATIONS[name].conflicts]
    if family in first or clash:
      why = _FAMILIES.get(family, 'the same fields')
      raise ValueError(
        f'--ablation={first.get(family) or clash[0]} and --ablation={name} '
        f'cannot be made together: both change {why}; use one of them'
      )
    first[family] = name


def table() -> str:
  """Lists every ablation in two lines each, for --ablation=help."""
  lines = [
    '--ablation=NAME, with the section of the paper and what it costs: points '
    'of top-1 / top-5 error.',
    'Run numbers are those of the notes of 2012. Repeat the flag to combine.',
  ]
  for name, a in ABLATIONS.items():
    lines += [f'{name:16}{a.section:6}{a.what}', f'{"":22}{a.effect}']
  return '\n'.join(lines)


def _set(**fields: Any) -> Callable[[Config], Overrides]:
  """Makes overrides that ignore the config; __ stands for a dot."""
  overrides = {path.replace('__', '.'): v for path, v in fields.items()}
  return lambda config: dict(overrides)


def _one_gpu_half(config: Config) -> Overrides:
  layers = config.model.layer
  halved = ('conv1', 'conv2', 'conv3', 'conv4')  # §3.2's footnote: not conv5
  return {
    'model.columns': 1,
    'mesh.column': 1,  # one device suffices
    **{f'model.layer.{n}.kernels': layers[n].kernels // 2 for n in halved},
  }


def _no_lrn(config: Config) -> Overrides:
  norms = ('lrn', 'spatial_norm')
  return {
    f'model.layer.{name}.ops': tuple(op for op in layer.ops if op not in norms)
    for name, layer in config.model.layer.items()
    if {*layer.ops} & {*norms}
  }


def _no_overlap(config: Config) -> Overrides:
  # Windows of 2 give 55 -> 28 maps; these two paddings bring sizes back to 13
  # before conv3 and 6 before fc6 (layers-147.cfg; conv4 keeps its own there).
  return {
    'model.pool.size': config.model.pool.stride,  # z = s = 2
    'model.layer.conv2.padding': 1,  # 28 -> 26 -> 13
    'model.layer.conv5.padding': 0,  # 13 -> 11 -> 6
  }


def _inputs(which: str, *, instead_of: str) -> Callable[[Config], Overrides]:
  return lambda config: {
    f'model.layer.{name}.inputs': which
    for name, layer in config.model.layer.items()
    if layer.inputs == instead_of
  }


def _no_exchange(config: Config) -> Overrides:
  layers = config.model.layer
  return {
    **_inputs('own_column', instead_of='both_columns')(config),
    'model.layer.conv2.kernels': layers.conv2.kernels * 5 // 4,  # 256 -> 320
    'model.layer.fc6.units': layers.fc6.units * 2,  # 4096 -> 8192
  }


def _no_conv3(config: Config) -> Overrides:
  """Lets conv4 read both columns in place of conv3, so that they still meet."""
  layers = config.model.layer
  return {
    'model.skip_layers': ('conv3',),
    'model.layer.conv4.inputs': layers.conv3.inputs,
  }


def _without(layer: str, *, what: str) -> Ablation:
  return Ablation(
    section='§7',
    what=f'no {layer}; {what}',
    effect='removing any middle layer: about +2 / not given',
    overrides=_set(model__skip_layers=(layer,)),
    family='depth',
    paper=(2.0, None),
  )


_FAMILIES = {  # what two ablations of a family would both change
  'no_overlap': 'the sizes of maps',
  'columns': 'which column sees which',
  'depth': 'the number of layers',
}
ABLATIONS = {
  'tanh': Ablation(
    '§3.1',
    'tanh in place of max(0, x)',
    'six times as many epochs to 25 % training error on CIFAR-10 (Figure 1)',
    _set(model__activation='tanh'),
  ),
  'one_gpu_half': Ablation(
    '§3.2',
    'one column: half the kernels in conv1 to conv4, all in conv5, fc6, fc7',
    '+1.7 / +1.2 (ILSVRC-2010, run 145-half)',
    _one_gpu_half,
    family='columns',
    paper=(1.7, 1.2),
    run='145-half',
  ),
  'ungrouped': Ablation(
    '§3.2',
    'every layer sees both columns; normalisation still stops between them',
    'not in the paper; 62,378,344 parameters',
    _inputs('both_columns', instead_of='own_column'),
    family='columns',
  ),
  'no_exchange': Ablation(
    '§3.2',
    'columns meet in fc8 alone; conv2 wider by a quarter, fc6 twice as wide',
    'not in the paper; +1.2 / +1.1 (ILSVRC-2012, run 150)',
    _no_exchange,
    family='columns',
    run='150',
  ),
  'no_lrn': Ablation(
    '§3.3',
    'no response normalisation, spatial_norm included',
    '+1.4 / +1.2 (run 148: .420340 / .193620 against .406640 / .182100)',
    _no_lrn,
    paper=(1.4, 1.2),
    run='148',
  ),
  'no_overlap': Ablation(
    '§3.4',
    'pooling windows of 2 every 2; conv2 padded by 1, conv5 by 0',
    '+0.4 / +0.3 (run 147, whose paddings these are)',
    _no_overlap,
    conflicts=('no_conv2', 'no_conv5'),  # whose padding brings sizes back
    paper=(0.4, 0.3),
    run='147',
  ),
  'no_crops': Ablation(
    '§4.1',
    'the centre crop, never mirrored, in training',
    'substantial overfitting',
    _set(augment__random_crop=False, augment__mirror=False),
  ),
  'no_pca_jitter': Ablation(
    '§4.1',
    'no colour shift',
    'over +1 / not given',
    _set(augment__colour_stddev=0.0),
    paper=(1.0, None),
  ),
  'single_view': Ablation(
    '§4.1',
    'the centre crop alone at test time',
    '+1.5 / +1.3 (ILSVRC-2010, §6: 39.0 / 18.3 against 37.5 / 17.0)',
    _set(eval__final_views=1),
    paper=(1.5, 1.3),
  ),
  'no_dropout': Ablation(
    '§4.2',
    'every unit of fc6 and fc7, always',
    'substantial overfitting; half as many iterations to converge',
    _set(model__dropout_rate=0.0),
  ),
  'no_weight_decay': Ablation(
    '§5',
    'no weight decay',
    'a higher training error as well',
    _set(optim__weight_decay=0.0),
  ),
  'no_conv2': _without('conv2', what='its pooling stays: 13 x 13 x 96 maps'),
  'no_conv3': _without(
    'conv3', what='conv4 sees both columns in its place'
  )._replace(overrides=_no_conv3),
  'no_conv4': _without('conv4', what='conv5 sees conv3'),
  'no_conv5': _without('conv5', what='its pooling stays: 6 x 6 x 384 maps'),
}
