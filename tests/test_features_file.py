"""Activations of a folder: the same as at once, whatever interrupts it."""

import numpy as np
import pytest
from PIL import Image

import alexnet_jax
from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.studies import features
from tests import nets, saved

LAYERS = ['conv3', 'fc7/activation']


@pytest.fixture(scope='module')
def step(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  return saved.checkpoint(folder, nets.config(short=True), statistics=True)


@pytest.fixture(scope='module')
def net(step):
  return alexnet_jax.load(step)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Seven images, and one file that only looks like one."""
  folder = tmp_path_factory.mktemp('images')
  rng = np.random.default_rng(0)
  for number in range(7):
    pixels = rng.integers(0, 256, (90, 100, 3)).astype(np.uint8)
    (folder / str(number % 2)).mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / str(number % 2) / f'{number}.png')
  (folder / '0' / '3bad.jpg').write_text('no image')
  return folder


@pytest.fixture(scope='module')
def expected(net, folder):
  files = [f for f in net_lib.files(str(folder)) if 'bad' not in f]
  return files, net.features(files, LAYERS)


def _check(path, expected):
  names, arrays = expected
  with np.load(path) as found:
    assert sorted(found.files) == sorted([*LAYERS, 'names'])
    assert found['names'].tolist() == names
    for name in LAYERS:
      np.testing.assert_allclose(found[name], arrays[name], atol=1e-5)
      assert found[name].dtype == np.float32


def test_the_command_writes_all_that_can_be_read(
  command, step, folder, expected, tmp_path
):
  out = tmp_path / 'out.npz'
  done = command(
    'alexnet_jax.tools.features',
    f'--restore={step}',
    f'--images={folder}',
    f'--layers={",".join(LAYERS)}',
    f'--output={out}',
    '--batch_size=3',
  )
  assert done.returncode == 1 and done.stderr.count('error:') == 1
  assert '3bad.jpg: no image of a known format' in done.stderr
  assert done.stdout.endswith('fc7/activation of 7 images\n')
  _check(out, expected)
  assert [p.name for p in tmp_path.iterdir()] == ['out.npz']


def test_an_interruption_costs_nothing(
  net, folder, expected, tmp_path, monkeypatch
):
  """Stopped after a minibatch, and within the writing of the next."""
  out, files = tmp_path / 'out.npz', net_lib.files(str(folder))
  original, calls = features._append, []

  def stops(*args, **kwargs):
    calls.append(1)
    original(*args, **kwargs)
    if len(calls) == 2:
      raise KeyboardInterrupt

  def extract():
    return features.extract(
      net, files=files, layers=LAYERS, output=out, batch_size=3
    )

  monkeypatch.setattr(features, '_append', stops)
  with pytest.raises(KeyboardInterrupt):
    extract()
  assert not out.exists()
  assert extract().images == 7 and len(calls) == 4
  _check(out, expected)


def test_other_images_begin_anew(net, folder, tmp_path, monkeypatch, capsys):
  out, files = tmp_path / 'out.npz', net_lib.files(str(folder))

  def extract(some):
    features.extract(net, files=some, layers=LAYERS, output=out, batch_size=2)

  with monkeypatch.context() as patch:
    patch.setattr(features, '_pack', lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      extract(files[:3])
  with monkeypatch.context() as patch:
    patch.setattr(features, '_pack', lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      extract(files[4:6])
  assert 'begun anew' in capsys.readouterr().out
  zero = np.zeros_like(net.statistics.mean_image)
  net = net.replace(statistics=net.statistics._replace(mean_image=zero))
  extract(files[4:6])  # other inputs, with the same parameters
  assert 'begun anew' in capsys.readouterr().out
  with np.load(out) as found:
    np.testing.assert_allclose(
      found['conv3'], net.features(files[4:6], 'conv3')['conv3'], atol=1e-5
    )


@pytest.mark.parametrize(
  ('flags', 'says'),
  [
    (['--restore='], '--restore is missing'),
    (['--images='], '--images is missing'),
    (['--images=EMPTY'], 'holds no images'),
    (['--layers='], '--layers is empty: use conv1, '),
    (['--layers=conv9'], "no layer 'conv9': use conv1, "),
    (['--output=EMPTY/x.h5'], 'ends with .npz'),
    (['--output=EMPTY/there.npz'], 'there.npz exists'),
    (['--images=EMPTY/typo'], "typo'"),
  ],
)
def test_mistakes_are_one_line(command, step, folder, tmp_path, flags, says):
  (tmp_path / 'empty').mkdir()
  if 'there' in flags[0]:
    (tmp_path / 'empty' / 'there.npz').touch()
  usual = [f'--restore={step}', f'--images={folder}', '--output=EMPTY/o.npz']
  args = [a.replace('EMPTY', str(tmp_path / 'empty')) for a in (*usual, *flags)]
  done = command('alexnet_jax.tools.features', *args)
  assert done.returncode == 1 and says in done.stderr
  assert done.stderr.count('\n') == 1
  assert not [*tmp_path.rglob('*.partial')]


def test_a_minibatch_is_no_larger_than_the_folder(
  net, folder, expected, tmp_path, monkeypatch
):
  original, sizes = net_lib.Net.features, []

  def features_of(self, given, layers, *, batch_size):
    sizes.append((len(given), batch_size))
    return original(self, given, layers, batch_size=batch_size)

  monkeypatch.setattr(net_lib.Net, 'features', features_of)
  files, out = net_lib.files(str(folder)), tmp_path / 'out.npz'
  features.extract(net, files=files, layers=LAYERS, output=out, batch_size=64)
  assert sizes == [(8, 8)]
  _check(out, expected)


def test_too_little_room_is_one_line(net, folder, tmp_path, monkeypatch):
  monkeypatch.setattr(features.paths, 'free_bytes', lambda _: 1000)
  with pytest.raises(ValueError, match='kB are needed'):
    features.extract(
      net,
      files=net_lib.files(str(folder)),
      layers=LAYERS,
      output=tmp_path / 'x.npz',
    )
