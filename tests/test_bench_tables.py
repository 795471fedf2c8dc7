"""Tables of docs/benchmarks.md, made from rows."""

import json
import platform

import pytest

from alexnet_jax.bench import rows, tables
from alexnet_jax.tools import docs


def _measured(**fields):
  return {
    'hardware': 'H', 'python': '3.11', 'date': '2026-01-02', 'n': 5,
    'command': 'python -m x',
  } | fields  # fmt: skip


def test_steps_beside_the_peer():
  row = _measured(
    bench='step', batch_size=128, parts=4, mesh='1x1', dtype='float32',
    winograd=True,
    images_per_second=30.04, peer_images_per_second=20.0, ratio=1.502,
    ratio_range=[1.4, 1.6], matmul_share=0.4449, peak_memory_bytes=2 * 10**9,
    peer_peak_memory_bytes=None,
  )  # fmt: skip
  alone = row | {'bench': 'eval', 'peer_images_per_second': None}
  alone |= {'ratio': None, 'ratio_range': None, 'command': 'python -m y'}
  lines = tables.benchmark([row, alone]).splitlines()
  assert lines[2] == (
    '| training step | 128 | 4 | True | 1x1 | float32 | 30.0 | 20.0 | 1.50 | '
    '1.40 to 1.60 | 44% | 2.00 GB | - | H | 5 |'
  )
  cells = '| ten views | 128 | 4 | True | 1x1 | float32 | 30.0 | - | - | - |'
  assert cells in lines[3]
  assert lines[5:] == [
    f'H, Python 3.11, 2026-01-02; `python -m {name}`.' for name in 'xy'
  ]


def test_operations():
  row = _measured(
    bench='ops',
    what='conv1 forward', ms=1.234, naive_ms=None, peer_ms=2.0, floor_ms=1.0,
    flop=1, gflops=99.6,
  )  # fmt: skip
  lines = tables.benchmark([row, row | {'flop': 0}]).splitlines()
  cells = '| conv1 forward | 1.23 | - | 2.00 | 1.00 |'
  assert lines[2:4] == [f'{cells} 100 | 5 |', f'{cells} - | 5 |']


def test_meshes_and_sizes():
  row = _measured(
    bench='scaling',
    batch_size=32, mesh='1x2', images_per_second=28.0, ratio_to_first_mesh=0.93,
    peak_memory_bytes=10**9, moved_bytes_per_image=452_448,
  )  # fmt: skip
  failed = _measured(
    bench='scaling', batch_size=512, failed='out of memory', n=None
  )
  lines = tables.benchmark([row, failed]).splitlines()
  assert lines[2] == '| 32 | 1x2 | 28.0 | 0.93 | 1.00 GB | 452,448 | 5 |'
  assert lines[3] == '| 512 | out of memory | - | - | - | - | - |'


def test_the_terminal_shows_more_columns_but_no_empty_ones():
  row = _measured(
    bench='step', batch_size=128, parts=1, mesh='1x1', dtype='float32',
    images_per_second=30.04, images_per_second_range=[29.0, 1031.0],
    ratio=None, ratio_range=None, peak_memory_bytes=10**9, compile_seconds=2.0,
  )  # fmt: skip
  heads, cells = tables.text([row]).splitlines()
  assert heads == (
    'what           images  parts  mesh  dtype    images/s  peak memory  '
    'machine  n  images/s, range  compiled in'
  )
  assert cells == (
    'training step  128     1      1x1   float32  30.0      1.00 GB      '
    'H        5  29.0 to 1,031.0  2.0 s'
  )


def test_training_from_records():
  row = _measured(
    bench='end_to_end',
    what='from raw records', batch_size=128, images_per_second=30.0,
    of_step_alone=0.991, of_step_alone_range=[0.97, 1.01],
  )  # fmt: skip
  assert tables.benchmark([row]).splitlines()[2] == (
    '| from raw records | 128 | 30.0 | 0.991 | 0.970 to 1.010 | 5 |'
  )


def test_rows_of_other_commands_of_the_day_are_kept(tmp_path, monkeypatch):
  monkeypatch.setattr(rows, 'RESULTS', tmp_path)
  rows.save([{'command': 'a', 'n': 1}, {'command': 'a', 'n': 2}], name='step')
  rows.save([{'command': 'b', 'n': 3}], name='step')
  path = rows.save([{'command': 'a', 'n': 4}], name='step')
  assert json.loads(path.read_text()) == [
    {'command': 'b', 'n': 3},
    {'command': 'a', 'n': 4},
  ]


def test_rows_of_another_machine_or_python_are_kept(tmp_path, monkeypatch):
  monkeypatch.setattr(rows, 'RESULTS', tmp_path)
  row = {'command': 'a', 'hardware': 'AMD', 'python': '3.11.7', 'n': 1}
  others = [row, row | {'hardware': 'Intel'}, row | {'python': '3.13.0'}]
  for other in others:
    rows.save([other], name='step')
  path = rows.save([row | {'n': 2}], name='step')
  assert json.loads(path.read_text()) == [*others[1:], row | {'n': 2}]


def test_several_processes_beside_one():
  row = _measured(
    bench='processes',
    what='2 x 1 devices', batch_size=32, images_per_second=28.49,
    of_one_process=1.032, of_one_process_range=[0.947, 1.087],
  )  # fmt: skip
  assert tables.benchmark([row]).splitlines()[2] == (
    '| 2 x 1 devices | 32 | 28.5 | 1.032 | 0.947 to 1.087 | 5 |'
  )


def test_a_page_needs_room_for_results_once_there_are_any(tmp_path):
  folder = tmp_path / 'alexnet_jax' / 'bench' / 'results'
  folder.mkdir(parents=True)
  page, text = 'docs/benchmarks.md', '# Benchmarks\n'
  assert docs.rewrite(text, page=page, root=tmp_path) == text
  row = _measured(
    bench='ops',
    what='fc6 forward', ms=1.0, naive_ms=1.0, peer_ms=1.0, floor_ms=1.0,
    flop=1, gflops=1.0,
  )  # fmt: skip
  (folder / '2026-01-01_ops.json').write_text(json.dumps([row]))
  with pytest.raises(ValueError, match='<!-- ops -->'):
    docs.rewrite(text, page=page, root=tmp_path)
  marked = f'{text}<!-- ops -->\n<!-- end of ops -->\n'
  assert '| fc6 forward |' in docs.rewrite(marked, page=page, root=tmp_path)


def test_each_machine_keeps_its_newest_rows(tmp_path):
  files = {
    '2026-01-01': [('a', 1), ('b', 2)],
    '2026-01-02': [('b', 3), ('c', 4), ('b', 5)],
    '2026-01-03': [(None, 6)],
  }
  for date, pairs in files.items():
    found = [{'hardware': machine, 'n': n} for machine, n in pairs]
    (tmp_path / f'{date}_step.json').write_text(json.dumps(found))
  (tmp_path / '2026-01-04_other.json').write_text('[]')
  found = rows.newest('step', folder=tmp_path)
  assert [row['n'] for row in found] == [1, 3, 4, 5, 6]
  assert rows.newest('none', folder=tmp_path) == []


def test_rows_of_the_last_run_are_of_one_machine_and_command(tmp_path):
  runs = [('a', 'x', 1), ('b', 'x', 2), ('b', 'y', 3), ('b', 'y', 4)]
  found = [{'hardware': m, 'command': c, 'n': n} for m, c, n in runs]
  (tmp_path / '2026-01-01_input.json').write_text(json.dumps(found))
  last = rows.last_run('input', folder=tmp_path)
  assert [row['n'] for row in last] == [3, 4]
  assert rows.last_run('none', folder=tmp_path) == []


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    (
      'processor\t: 0\nmodel name\t: AMD EPYC\ncpu family\t: 25\n'
      'model\t\t: 17\nflags\t\t: fpu avx512f avx512_bf16\n',
      'AMD EPYC (family 25 model 17) with AVX-512 and BF16',
    ),
    ('model name : Xeon @ 2 GHz\nflags : avx2\n', 'Xeon @ 2 GHz'),
    ('Features : fp asimd\n', platform.machine()),
    (None, platform.machine()),
  ],
)
def test_a_processor_is_told_by_its_numbers(tmp_path, text, expected):
  file = tmp_path / 'cpuinfo'
  if text is not None:
    file.write_text(text)
  assert rows._processor(file) == expected
