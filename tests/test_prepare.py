"""Preparing: the official tars in miniature, and real images where present."""

import io
import json
import os
import pathlib
import tarfile

import numpy as np
import pytest
import scipy.io
from PIL import Image

from alexnet_jax.data import images, records
from alexnet_jax.data.prepare import run, shards, sources
from tests import official, readers

_REAL = os.environ.get('ALEXNET_JAX_TEST_DATA', '')


@pytest.fixture
def source(tmp_path):
  return official.write(tmp_path / 'source')


def _run(source, output, *, workers=1, **options):
  options = shards.Options(**dict(image_size=16) | options)
  work = run.plan(sources.find_layout(str(source)), options=options)
  return run.prepare(work, output=output, workers=workers)


def _files(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_labels_names_and_pixels(source, tmp_path):
  _run(source, tmp_path / 'out')
  train = {name: rest for *rest, name in _swap(tmp_path / 'out', 'train')}
  assert len(train) == 9
  for index in range(9):
    wnid, name = official.train_name(index)
    label, pixels = train[name]
    assert label == official.LABELS[wnid]
    # 20 x 16: no resizing; columns 2 to 17 are the centre.
    assert pixels == official.png(index)[0][:, 2:18].tobytes()
  val = [
    (label, name) for label, name, _ in readers.records(tmp_path / 'out', 'val')
  ]
  assert val == [
    (1, 'ILSVRC2012_val_00000001.JPEG'),  # id 3, n02000000
    (2, 'ILSVRC2012_val_00000002.JPEG'),  # id 1, n03000000
    (0, 'ILSVRC2012_val_00000004.JPEG'),  # id 2, n01000000
  ]


def _swap(folder, split):
  return [
    (label, pixels, name)
    for label, name, pixels in readers.records(folder, split)
  ]


def test_metadata_and_statistics(source, tmp_path):
  _run(source, tmp_path / 'out')
  content = json.loads((tmp_path / 'out' / 'metadata.json').read_text())
  assert content['format_version'] == 1
  assert (content['image_size'], content['encoding']) == (16, 'raw')
  assert [c['id'] for c in content['classes']] == sorted(official.LABELS)
  assert content['classes'][0]['name'] == 'word n01000000'
  assert content['splits']['train']['num_images'] == 9
  pixels = np.array([official.png(k)[0][:, 2:18] for k in range(9)], np.float64)
  np.testing.assert_allclose(
    np.load(tmp_path / 'out' / 'mean_image.npy'), pixels.mean(axis=0), rtol=1e-6
  )
  pca = np.load(tmp_path / 'out' / 'rgb_pca.npz')
  p, s = pca['components'], pca['stddevs']
  np.testing.assert_allclose(
    p @ np.diag(s**2) @ p.T,
    np.cov(pixels.reshape(-1, 3).T, bias=True),
    rtol=1e-3,
  )
  data = records.load(str(tmp_path / 'out'), image_size=16)
  assert (len(data.train), len(data.val)) == (9, 3)


def test_warped_images_have_both_sides_scaled(source, tmp_path):
  _run(source, tmp_path / 'out', resize='warp')
  content = json.loads((tmp_path / 'out' / 'metadata.json').read_text())
  assert content['resize'] == 'warp'
  found = {
    name: data for _, name, data in readers.records(tmp_path / 'out', 'train')
  }
  for index in range(9):
    whole = Image.fromarray(official.png(index)[0])  # 20 x 16
    warped = whole.resize((16, 16), Image.Resampling.BICUBIC)
    assert found[official.train_name(index)[1]] == warped.tobytes()
  folder = str(tmp_path / 'out')
  with pytest.raises(ValueError, match=r'use --config.data.resize=warp, or'):
    records.load(folder, image_size=16)
  data = records.load(folder, image_size=16, resize='warp')
  pixels = [data.train[i].image for i in range(9)]
  np.testing.assert_allclose(data.mean_image, np.mean(pixels, 0), rtol=1e-6)


def test_cropped_images_are_prepared_as_before_there_was_a_choice(
  source, tmp_path
):
  assert repr(shards.Options()) == (
    "Options(image_size=256, encoding='raw', jpeg_quality=90)"
  )
  _run(source, tmp_path / 'out', resize='crop')
  content = json.loads((tmp_path / 'out' / 'metadata.json').read_text())
  assert 'resize' not in content
  plans = [
    run.plan(
      sources.find_layout(str(source)), options=shards.Options(resize=resize)
    )
    for resize in ('crop', 'warp')
  ]
  assert plans[0].digest != plans[1].digest


def test_training_images_are_shuffled_over_shards(tmp_path):
  source = official.write(tmp_path / 'source', num_train=150)
  _run(source, tmp_path / 'out')
  labels = [label for label, *_ in readers.records(tmp_path / 'out', 'train')]
  assert len(list((tmp_path / 'out').glob('train-*-of-00003*'))) == 3
  assert labels != sorted(labels)
  assert all(len(set(labels[k : k + 50])) == 3 for k in (0, 50, 100))


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(tmp_path):
  source = official.write(tmp_path / 'source', num_train=150)
  for workers in (1, 2):
    _run(source, tmp_path / f'out{workers}', workers=workers, encoding='jpeg')
  assert _files(tmp_path / 'out1') == _files(tmp_path / 'out2')


def test_jpeg_statistics_are_of_the_decoded_records(source, tmp_path):
  _run(source, tmp_path / 'out', encoding='jpeg', jpeg_quality=50)
  decoded = [
    np.asarray(Image.open(io.BytesIO(data)))
    for _, _, data in readers.records(tmp_path / 'out', 'train')
  ]
  np.testing.assert_allclose(
    np.load(tmp_path / 'out' / 'mean_image.npy'), np.mean(decoded, 0), rtol=1e-6
  )


def test_unreadable_images_are_listed_with_the_reason(tmp_path):
  source = official.write(tmp_path / 'source')
  whole = official.png(0, width=40, height=40)[1]
  bad = {
    'n01000000_text.JPEG': b'hello',
    'n01000000_cut.JPEG': whole[: len(whole) // 2],
    'n01000000_none.JPEG': b'',
    'n01000000_good.JPEG': whole,
  }
  (source / 'ILSVRC2012_img_train.tar').write_bytes(
    official.tar({'n01000000.tar': official.tar(bad)})
  )
  metadata = _run(source, tmp_path / 'out')
  assert metadata.splits['train'].num_images == 1
  content = json.loads((tmp_path / 'out' / 'metadata.json').read_text())
  reasons = {entry['file']: entry['reason'] for entry in content['skipped']}
  assert reasons.keys() == bad.keys() - {'n01000000_good.JPEG'}
  assert reasons['n01000000_text.JPEG'] == 'no image of a known format'
  assert 'truncated' in reasons['n01000000_cut.JPEG']
  assert not any('0x' in reason for reason in reasons.values())


def test_continues_where_it_was_stopped(tmp_path):
  source = official.write(tmp_path / 'source', num_train=150)
  options = shards.Options(image_size=16)
  work = run.plan(sources.find_layout(str(source)), options=options)
  run.prepare(work, output=tmp_path / 'whole', workers=1)
  seen = []

  def stop(images):
    seen.append(images)
    if sum(seen) > 70:
      raise KeyboardInterrupt

  output = tmp_path / 'out'
  with pytest.raises(KeyboardInterrupt):
    run.prepare(work, output=output, workers=1, progress=stop)
  assert not output.exists()
  partial = tmp_path / 'out.partial' / 'train-00000-of-00003.array_record'
  written = partial.stat().st_mtime_ns
  steps = []
  run.prepare(work, output=output, workers=1, progress=steps.append)
  assert steps[0] == 50 and sum(steps) == 153
  assert (output / partial.name).stat().st_mtime_ns == written
  assert _files(output) == _files(tmp_path / 'whole')


def test_a_shard_whose_note_is_damaged_is_written_again(tmp_path):
  source = official.write(tmp_path / 'source', num_train=150)
  work = run.plan(
    sources.find_layout(str(source)), options=shards.Options(image_size=16)
  )
  run.prepare(work, output=tmp_path / 'whole', workers=1)
  output, partial = tmp_path / 'out', tmp_path / 'out.partial'

  def damage(images):
    for note in partial.glob('*.done.npz'):
      note.write_bytes(note.read_bytes()[:99])
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run.prepare(work, output=output, workers=1, progress=damage)
  run.prepare(work, output=output, workers=1)
  assert _files(output) == _files(tmp_path / 'whole')


def test_another_plan_does_not_continue(tmp_path):
  source = official.write(tmp_path / 'source', num_train=150)

  def stop(images):
    if any((tmp_path / 'out.partial').glob('*.done.npz')):
      raise KeyboardInterrupt

  work = run.plan(
    sources.find_layout(str(source)), options=shards.Options(image_size=8)
  )
  with pytest.raises(KeyboardInterrupt):
    run.prepare(work, output=tmp_path / 'out', workers=1, progress=stop)
  before = _files(tmp_path / 'out.partial')
  with pytest.raises(ValueError, match='unfinished run of another source or'):
    _run(source, tmp_path / 'out')
  assert _files(tmp_path / 'out.partial') == before


def test_a_folder_of_other_files_is_left_alone(source, tmp_path):
  partial = tmp_path / 'out.partial'
  partial.mkdir()
  (partial / 'notes.txt').write_text('mine')
  with pytest.raises(ValueError, match='was not made by prepare: move it'):
    _run(source, tmp_path / 'out')
  assert (partial / 'notes.txt').read_text() == 'mine'


def test_existing_output_is_refused(source, tmp_path):
  output = tmp_path / 'out'
  output.mkdir()  # empty: may be used
  _run(source, output)
  before = _files(output)
  with pytest.raises(ValueError, match='complete'):
    _run(source, output)
  assert _files(output) == before
  with pytest.raises(ValueError, match='no prepared data set'):
    _run(source, tmp_path / 'source')


def test_a_second_run_at_the_same_time_is_refused(source, tmp_path):
  options = shards.Options(image_size=16)
  work = run.plan(sources.find_layout(str(source)), options=options)
  refused = []

  def again(images):
    with pytest.raises(ValueError, match='in use by another run'):
      run.prepare(work, output=tmp_path / 'out', workers=1)
    refused.append(images)

  run.prepare(work, output=tmp_path / 'out', workers=1, progress=again)
  assert refused


def _cut(source, name):
  path = source / name
  path.write_bytes(path.read_bytes()[:-12000])


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (lambda s: (s / 'ILSVRC2012_img_val.tar').unlink(), 'img_val.tar is miss'),
    (
      lambda s: (s / 'ILSVRC2012_img_train.tar').unlink(),
      'train.tar is missing',
    ),
    (lambda s: _cut(s, 'ILSVRC2012_img_train.tar'), 'is cut short'),
    (
      lambda s: (s / 'ILSVRC2012_img_train.tar').write_bytes(b'x' * 9999),
      'not a whole, uncompressed tar',
    ),
    (
      lambda s: (s / 'ILSVRC2012_img_train.tar').write_bytes(
        official.tar(
          {
            'n01000000.tar': official.tar({'n01000000_1.JPEG': bytes(5000)})[
              :2048
            ],
            'n02000000.tar': official.tar({'n02000000_1.JPEG': bytes(9000)}),
          }
        )
      ),
      'n01000000.tar in it is cut short',
    ),
    (
      lambda s: (s / 'ILSVRC2012_devkit_t12.tar.gz').write_bytes(b'x' * 99),
      'not a whole ILSVRC2012 devkit',
    ),
    (
      lambda s: (s / 'ILSVRC2012_img_train.tar').write_bytes(
        official.tar({'n9.tar': official.tar({'n9_1.JPEG': b''})})
      ),
      "'n9', which the devkit does not know",
    ),
    (
      lambda s: (s / 'ILSVRC2012_img_val.tar').write_bytes(
        official.tar({'ILSVRC2012_val_00000005.JPEG': b''})
      ),
      r'val_00000005\.JPEG of .* has no label: there are 4',
    ),
    (
      lambda s: (s / 'ILSVRC2012_img_val.tar').write_bytes(official.tar({})),
      'no val images',
    ),
  ],
)
def test_a_wrong_source_is_an_error_of_one_line(
  source, tmp_path, damage, message
):
  damage(source)
  with pytest.raises(ValueError, match=message) as error:
    _run(source, tmp_path / 'out')
  assert '\n' not in str(error.value)


def test_shorter_side_is_resized_then_the_centre_cropped():
  # Twice the size of uniform blocks: resizing cannot change a flat colour.
  image = np.zeros((512, 1024, 3), np.uint8)
  image[:, :256] = (255, 0, 0)
  image[:, 256:768] = (10, 200, 30)
  stream = io.BytesIO()
  Image.fromarray(image).save(stream, 'PNG')
  out = images.square(stream.getvalue(), size=256)
  # 256 x 512, and of that columns 128 to 383: the middle colour alone.
  assert out.shape == (256, 256, 3)
  assert (out == (10, 200, 30)).all(axis=-1)[:, 2:-2].all()


def test_the_filter_is_bicubic():
  array, data = official.png(1, width=100, height=75)
  direct = Image.fromarray(array).resize((43, 32), Image.Resampling.BICUBIC)
  np.testing.assert_array_equal(
    images.square(data, size=32), np.asarray(direct)[:, 5:37]
  )


@pytest.mark.parametrize('mode', ['L', 'CMYK', 'P', 'RGBA', '1', 'I;16'])
def test_any_mode_becomes_rgb(mode):
  stream = io.BytesIO()
  kind = 'TIFF' if mode == 'CMYK' else 'PNG'
  Image.new('L', (12, 10), 255).convert(mode).save(stream, kind)
  out = images.square(stream.getvalue(), size=10)
  assert out.shape == (10, 10, 3) and (out == 255).all()


def test_small_images_are_enlarged():
  assert (
    images.square(official.png(0, width=3, height=5)[1], size=16).shape[0] == 16
  )


def test_the_command(command, source, tmp_path):
  args = (f'--source={source}', f'--output={tmp_path}/out', '--image_size=16')
  done = command('alexnet_jax.tools.prepare', *args, '--workers=1')
  assert done.returncode == 0, done.stderr
  assert '9 train, 3 val images' in done.stdout  # printed before the work
  assert '9 train, 3 val, 0 skipped' in done.stdout
  again = command('alexnet_jax.tools.prepare', *args)
  assert again.returncode == 1
  assert again.stderr.startswith('error: ') and again.stderr.count('\n') == 1


def _real(name):
  path = pathlib.Path(_REAL, 'ilsvrc2012-mini', name)
  if not _REAL or not path.exists():
    pytest.skip('set ALEXNET_JAX_TEST_DATA to a folder with ilsvrc2012-mini')
  return path


def _real_labels():
  """The classes, and the label of each validation image, without our code."""
  with tarfile.open(_real('ILSVRC2012_devkit_t12.tar.gz')) as archive:
    content = {
      pathlib.PurePath(info.name).name: archive.extractfile(info).read()
      for info in archive
      if info.isfile()
    }
  rows = scipy.io.loadmat(io.BytesIO(content['meta.mat']))['synsets'][:, 0]
  wnids = {int(row[0].item()): row[1].item() for row in rows}
  order = sorted(wnids[id_] for id_ in range(1, 1001))
  truth = content['ILSVRC2012_validation_ground_truth.txt'].split()
  return order, [order.index(wnids[int(id_)]) for id_ in truth]


def test_real_images(tmp_path):
  source = _real('ILSVRC2012_img_train.tar').parent
  metadata = _run(source, tmp_path / 'out', image_size=256)
  assert not metadata.skipped
  order, val_labels = _real_labels()
  assert [info.id for info in metadata.classes] == order
  # Published AlexNets number these classes 0 and 999.
  assert (order[0], order[999]) == ('n01440764', 'n15075141')
  train = list(readers.records(tmp_path / 'out', 'train'))
  assert len(train) == 120
  assert all(order[label] == name.split('_')[0] for label, name, _ in train)
  val = [
    (label, name) for label, name, _ in readers.records(tmp_path / 'out', 'val')
  ]
  assert [label for label, _ in val] == val_labels
  pixels = np.mean(
    [np.frombuffer(data, np.uint8).astype(np.float64) for *_, data in train], 0
  )
  np.testing.assert_allclose(
    np.load(tmp_path / 'out' / 'mean_image.npy').ravel(), pixels, rtol=1e-6
  )
  stddevs = np.load(tmp_path / 'out' / 'rgb_pca.npz')['stddevs']
  # The released values are 121.8, 37.1, 19.7 grey levels.
  np.testing.assert_allclose(stddevs, [121.8, 37.1, 19.7], rtol=0.3)


def test_real_images_one_by_one():
  with tarfile.open(_real('ILSVRC2012_img_val.tar')) as archive:
    for info in list(archive)[:12]:
      data = archive.extractfile(info).read()
      image = Image.open(io.BytesIO(data)).convert('RGB')
      scale = 256 / min(image.size)
      width, height = (round(side * scale) for side in image.size)
      left, top = (width - 256) // 2, (height - 256) // 2
      direct = np.asarray(image.resize((width, height)))  # PIL's default
      np.testing.assert_array_equal(
        images.square(data, size=256),
        direct[top : top + 256, left : left + 256],
      )
