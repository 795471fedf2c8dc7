"""metrics.jsonl: whole lines, each step once."""

import dataclasses
import io
import json
import pathlib
import re
import struct
import sys

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2

from alexnet_jax.configs import smoke
from alexnet_jax.data import sources
from alexnet_jax.runtime import terminal
from alexnet_jax.train import board
from alexnet_jax.train import log as log_lib

_LINE = {
  'split': 'train', 'epoch': 0.5, 'time': 0.0, 'loss': 1.0, 'top1_error': 0.5,
  'top5_error': 0.5, 'learning_rate': 0.01,
}  # fmt: skip


def _write(workdir, steps, *, last_step=0):
  history = log_lib.read_metrics(workdir / 'metrics.jsonl')
  kept = [record for record in history if record['step'] <= last_step]
  log = log_lib.MetricsLog(workdir, kept=kept)
  for step in steps:
    log.write({'step': step, **_LINE})
  log.close()


def _steps(workdir):
  text = (workdir / 'metrics.jsonl').read_text()
  return [json.loads(line)['step'] for line in text.splitlines()]


def test_a_resumed_run_drops_what_lies_beyond_its_checkpoint(tmp_path):
  _write(tmp_path, [1, 2, 3, 4])
  _write(tmp_path, [3, 4, 5], last_step=2)
  assert _steps(tmp_path) == [1, 2, 3, 4, 5]


def test_half_a_line_is_dropped(tmp_path):
  _write(tmp_path, [1, 2])
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 3, "spl')
  _write(tmp_path, [3], last_step=9)
  assert _steps(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize(
  'line',
  [
    '{"st',
    '3',
    'null',
    '[]',
    '{}',
    '[' * 10**5,
    json.dumps({**_LINE, 'step': 'x'}),
    json.dumps({**_LINE, 'step': 0}),
    json.dumps({**_LINE, 'step': True}),
    json.dumps({**_LINE, 'step': 2, 'split': 'trayn'}),
    json.dumps({**_LINE, 'step': 2}).replace('loss', 'lo3s'),
  ],
)
def test_a_damaged_line_is_named(line, tmp_path):
  sound = json.dumps({**_LINE, 'step': 1})
  (tmp_path / 'metrics.jsonl').write_text(f'{sound}\n{line}\n')
  with pytest.raises(ValueError, match='line 2 is damaged: remove'):
    log_lib.read_metrics(tmp_path / 'metrics.jsonl')


def test_json_replaces_the_file_as_a_whole(tmp_path):
  log_lib.write_json(tmp_path / 'a.json', {'b': (1, 2)})
  assert json.loads((tmp_path / 'a.json').read_text()) == {'b': [1, 2]}
  assert [p.name for p in tmp_path.iterdir()] == ['a.json']


def test_describe_names_views_and_images():
  record = {
    'step': 3, 'epoch': 0.5, 'split': 'val', 'views': 10, 'num_images': 56,
    'loss': 1.0, 'top1_error': 0.25, 'top5_error': 0.125,
  }  # fmt: skip
  text = log_lib.describe(record)
  assert 'top-1 error 25.00 % (14 of 56)' in text
  assert 'top-5 error 12.50 % (7 of 56)' in text and '10 views' in text
  assert log_lib.describe(record | {'views': 9}).endswith('9 views')
  assert log_lib.describe(record | {'views': 1}).endswith('centre crop')


def test_a_top5_error_that_is_not_defined_is_null_and_a_dash(tmp_path):
  record = {
    'step': 3, 'epoch': 0.5, 'split': 'val', 'views': 10, 'num_images': 56,
    'loss': 1.0, 'top1_error': 0.25, 'top5_error': None, 'time': 1.0,
  }  # fmt: skip
  assert ', top-5 error -, loss' in log_lib.describe(record)
  log = log_lib.MetricsLog(tmp_path, kept=[record | {'top5_error': 0.0}])
  log.write(record)
  log.close()
  path = tmp_path / 'metrics.jsonl'
  assert '"top5_error": null' in path.read_text().splitlines()[1]
  old, new = log_lib.read_metrics(path)  # what older versions wrote is read
  assert (old['top5_error'], new['top5_error']) == (0.0, None)


def test_progress_in_a_log_file_is_a_line_now_and_then(capsys):
  clock = [0.0]
  progress = log_lib.Progress(
    total_steps=9, step=0, live=False, now=lambda: clock[0]
  )
  for step in range(1, 10):
    progress.advance()
    progress.show(
      {
        'step': step,
        'loss': 2.0,
        'learning_rate': 0.01,
        'images_per_second': 30.0,
        'input_wait_fraction': 0.0,
      }
    )
    clock[0] += 10
  progress.say('val: fine')
  progress.close()
  out, err = capsys.readouterr()
  lines = out.splitlines()
  assert [line.split(':')[0] for line in lines] == [
    'step 1 of 9',
    'step 3 of 9',
    'step 5 of 9',
    'step 7 of 9',
    'step 9 of 9',
    'val',
  ]
  assert lines[0].endswith('loss 2.000, rate 0.01, 30.0 images/s, 0% waiting')
  assert '\r' not in out and not err


def test_the_live_line_fits_80_columns_and_leaves_compiling_out(
  capsys, monkeypatch
):
  monkeypatch.setenv('COLUMNS', '80')
  monkeypatch.setenv('LINES', '24')
  clock = [0.0]
  progress = log_lib.Progress(
    total_steps=900_000, step=0, live=True, now=lambda: clock[0]
  )
  clock[0] = 500.0  # the first step compiles
  for step in (1, 2, 3):
    progress.advance()
    clock[0] += 1.0
    progress.show(
      {
        'step': step,
        'loss': 6.9,
        'top1_error': 0.9993,
        'learning_rate': 0.01,
        'images_per_second': 1234.5,
        'input_wait_fraction': 0.0,
      }
    )
  progress._bar.refresh()
  progress.close()
  _, err = capsys.readouterr()
  lines = [re.sub(r'\x1b\[\w+', '', line) for line in err.split('\r')]
  assert max(map(len, lines)) < 80
  last = [line for line in lines if 'loss' in line][-1]
  assert last.startswith('3/900000 ')
  # Two steps in three seconds, as the third has not ended; not 503.
  hours = 1.5 * 899_997 / 3600
  assert (
    f' {int(hours)}:' in last and ' left, loss 6.900, error 99.93 %' in last
  )
  bar = last.split(' ', 1)[1].rsplit(' left', 1)[0].rsplit(' ', 1)[0]
  assert len(bar) >= 8
  assert '--:--' in ''.join(lines)


def test_lines_are_wrapped_on_a_terminal_alone(monkeypatch):
  text = 'one two three ' * 9 + '\n  a table ' + 'x' * 90
  assert terminal.wrapped(text) == text
  monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
  monkeypatch.setenv('COLUMNS', '80')
  first, second, table = terminal.wrapped(text).split('\n')
  assert max(len(first), len(second)) <= 80 and second.startswith('  ')
  words = first.split() + second.split()
  assert words == ('one two three ' * 9).split()
  assert table == '  a table ' + 'x' * 90


@pytest.mark.parametrize(
  ('installed', 'program'),
  [
    (True, 'alexnet-jax predict'),
    (False, '.venv/bin/python -m alexnet_jax.tools.predict'),
  ],
)
def test_a_run_ends_with_what_came_out_and_what_to_do(
  installed, program, tmp_path, monkeypatch
):
  if installed:
    (tmp_path / 'alexnet-jax').touch(0o755)
  monkeypatch.setenv('PATH', str(tmp_path))
  record = {
    **_LINE, 'split': 'val', 'views': 10, 'num_images': 300, 'top1_error': 0.02,
  }  # fmt: skip
  said = log_lib.ending(
    [record], workdir='gs://b/run', has_report=True, drawn=False
  )
  assert said.split('\n') == [
    'result: top-1 error 2.00 % of 300 validation images, 10 views',
    'open:   gs://b/run/report/index.html',
    f'next:   {program} --restore=gs://b/run PHOTO.jpg',
  ]
  said = log_lib.ending(
    [record | {'views': 1}], workdir='a', has_report=False, drawn=True
  )
  assert 'images, centre crop' in said and 'open:   a/metrics.jsonl' in said
  assert '--ablation=no_lrn' in said


def test_an_event_file_on_a_full_disk_is_closed_for_good(tmp_path):
  """Else Python 3.13 tries again at the end, and prints a traceback."""
  if not pathlib.Path('/dev/full').exists():
    pytest.skip('there is no /dev/full here')
  log = log_lib.MetricsLog(tmp_path, kept=[])
  records = log._board._writer
  records.close()
  records._writer = open('/dev/full', 'wb')
  records.write(b'event')
  with pytest.raises(log_lib.WriteError, match='No space left'):
    log.close()
  assert records._writer.closed


def _events(folder):
  """The summaries of a folder's event files: (step, value), in order."""
  found = []
  for path in sorted(folder.glob('events.out.tfevents.*')):
    content = path.read_bytes()
    while content:  # length, checksum, event, checksum
      (length,) = struct.unpack('<Q', content[:8])
      event = event_pb2.Event.FromString(content[12 : 12 + length])
      content = content[16 + length :]
      found += [(event.step, value) for value in event.summary.value]
  return found


def test_tensorboard_has_config_classes_and_kernels(tmp_path):
  config, rng = smoke.get_config(), np.random.default_rng(0)
  data = sources.load(config.data, seed=0)
  # One without images, so that all are looked through.
  data = dataclasses.replace(data, classes=(*data.classes, data.classes[0]))
  weights = rng.normal(size=(5, 5, 3, 20)).astype(np.float32)
  log = log_lib.MetricsLog(tmp_path, kept=[])
  log.show(board.of_run(config, data), step=0)
  log.show([board.kernels(weights)], step=6)
  log.close()
  found = _events(tmp_path)
  tags = [value.tag for _, value in found]
  text = next(v for _, v in found if v.tag.startswith('config'))
  assert '"momentum": 0.9' in text.tensor.string_val[0].decode()
  assert any(tag.startswith('_hparams_/') for tag in tags)
  pictures = {v.tag: (step, v.image) for step, v in found if v.image.width}
  names = {
    f'classes/{n}_{c.name.replace(" ", "_")}'
    for n, c in enumerate(data.classes[:10])
  }
  assert {*pictures} == names | {'conv1'}
  step, first = pictures['classes/3_cyan_vertical']
  image = Image.open(io.BytesIO(first.encoded_image_string))
  np.testing.assert_array_equal(np.asarray(image), data.train[3].image)
  step, drawn = pictures['conv1']
  assert (step, drawn.height, drawn.width) == (6, 2 * 6 * 4, 16 * 6 * 4)


def test_kernels_lie_side_by_side():
  weights = np.zeros((2, 2, 3, 17))
  weights[0, 1, 0, 16] = -0.5  # of the first kernel in the second row
  picture = board.montage(weights)[::4, ::4]
  assert picture.shape == (6, 48, 3)
  assert picture[0, 0].tolist() == [127] * 3
  assert picture[3, 1].tolist() == [0, 127, 127]
  assert (picture[:, 2] == 255).all() and (picture[3:, 3:] == 255).all()
