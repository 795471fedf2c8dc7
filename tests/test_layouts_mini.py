"""Real validation images of ILSVRC2012, laid out in five ways, are the same."""

import io
import json
import os
import pathlib
import struct
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from array_record.python import array_record_module

import alexnet_jax
from alexnet_jax.data import records
from alexnet_jax.data.prepare import run, shards, sources
from tests import disks, nets, official

_MINI = (
  pathlib.Path(os.environ.get('ALEXNET_JAX_TEST_DATA', '/nowhere'))
  / 'ilsvrc2012-mini'
)
pytestmark = pytest.mark.skipif(
  not _MINI.is_dir(), reason='ALEXNET_JAX_TEST_DATA has no ilsvrc2012-mini'
)
_KIT = 'ILSVRC2012_devkit_t12.tar.gz'


def _tar(name):
  with tarfile.open(_MINI / name) as archive:
    return {
      pathlib.PurePath(info.name).name: archive.extractfile(info).read()
      for info in archive
      if info.isfile()
    }


@pytest.fixture(scope='module')
def mini():
  """Words by WordNet id, val images and the id of each, without our code."""
  kit = _tar(_KIT)
  rows = scipy.io.loadmat(io.BytesIO(kit['meta.mat']))['synsets'][:, 0]
  ids = {int(row[0].item()): row[1].item() for row in rows}
  words = {
    row[1].item(): row[2].item() for row in rows if int(row[0].item()) <= 1000
  }
  truth = kit['ILSVRC2012_validation_ground_truth.txt'].split()
  val = _tar('ILSVRC2012_img_val.tar')
  kinds = {name: ids[int(truth[int(name[-13:-5]) - 1])] for name in val}
  train = {
    f'{name.removesuffix(".tar")}/{inner.name}': archive.extractfile(
      inner
    ).read()
    for name, data in [*_tar('ILSVRC2012_img_train.tar').items()][:3]
    for archive in [tarfile.open(fileobj=io.BytesIO(data))]
    for inner in archive
  }
  return words, train, val, kinds


def _official(folder, mini):
  return _MINI


def _kaggle(folder, mini):
  words, train, val, kinds = mini
  data = 'ILSVRC/Data/CLS-LOC'
  files = {f'{data}/train/{name}': image for name, image in train.items()}
  files |= {f'{data}/val/{name}': image for name, image in val.items()}
  rows = [f'{n.removesuffix(".JPEG")},{kinds[n]} 1 2 3 4 ' for n in val]
  files['LOC_val_solution.csv'] = '\n'.join(['ImageId,PredictionString', *rows])
  lines = (f'{id_} {words[id_]}\n' for id_ in sorted(words))
  return disks.write(folder, files | {'LOC_synset_mapping.txt': ''.join(lines)})


def _image_folder(folder, mini):
  _, train, val, kinds = mini
  files = {f'train/{name}': image for name, image in train.items()}
  return disks.write(
    folder, files | {f'val/{kinds[n]}/{n}': image for n, image in val.items()}
  )


def _rows(mini):
  words, train, val, kinds = mini
  order = sorted(words)
  return {
    'train': [
      (n.split('/')[1], d, order.index(n.split('/')[0]))
      for n, d in train.items()
    ],
    'val': [(n, d, order.index(kinds[n])) for n, d in val.items()],
  }


def _parquet(folder, mini):
  info = {'label': {'_type': 'ClassLabel', 'names': sorted(mini[0])}}
  content = {b'huggingface': json.dumps({'info': {'features': info}})}
  folder.mkdir()
  for split, rows in _rows(mini).items():
    table = pa.table(
      {
        'image': [{'bytes': d, 'path': name} for name, d, _ in rows],
        'label': [label for *_, label in rows],
      }
    ).replace_schema_metadata(content)
    pq.write_table(table, folder / f'{split}-00000-of-00001.parquet')
  return folder


def _webdataset(folder, mini):
  files = {'classnames.txt': '\n'.join(sorted(mini[0]))}
  for split, rows in _rows(mini).items():
    members = {}
    for name, data, label in rows:
      key = name.removesuffix('.JPEG')
      members |= {f'{key}.jpg': data, f'{key}.cls': str(label).encode()}
    files[f'{split}-000000.tar'] = official.tar(members)
  return disks.write(folder, files)


def _val(folder):
  """{number of the image: (label, record behind the name)}."""
  content = json.loads((folder / 'metadata.json').read_text())
  found = {}
  for shard in content['splits']['val']['shards']:
    reader = array_record_module.ArrayRecordReader(str(folder / shard))
    for record in reader.read_all():
      label, length = struct.unpack_from('<iH', record)
      name = record[6 : 6 + length].decode().rpartition('/')[2]
      found[name.split('.')[0]] = label, record[6 + length :]
    reader.close()
  return found


def _errors(folder, net):
  """Top-1 and top-5 errors of the net, and its mean loss, read by our code."""
  data = records.load(str(folder), image_size=80)
  examples = sorted(data.val.take(range(len(data.val))), key=lambda e: e.label)
  images = [example.image for example in examples]
  labels = np.array([example.label for example in examples])
  found = net.predict(images, views=1).probabilities
  true = found[np.arange(len(labels)), labels]
  ranks = (found > true[:, None]).sum(1)
  return (ranks > 0).mean(), (ranks > 4).mean(), -np.log(true).mean()


def test_five_layouts_give_the_same_records(tmp_path, mini):
  words, _, val, kinds = mini
  order, found, errors = sorted(words), {}, []
  config = nets.config()
  net = alexnet_jax.build(config, classes=order)
  builders = (_official, _kaggle, _image_folder, _parquet, _webdataset)
  for build in builders:
    source = build(tmp_path / build.__name__, mini)
    known = '' if build is _official else str(tmp_path / '_official-data')
    layout = sources.find_layout(str(source), classes_of=known)
    assert [info.id for info in layout.classes] == order
    few = layout.splits | {'train': layout.splits['train'][:2]}
    output = tmp_path / f'{build.__name__}-data'
    work = run.plan(
      layout._replace(splits=few), options=shards.Options(image_size=80)
    )
    assert not run.prepare(work, output=output, workers=1).skipped
    found[build.__name__] = _val(output)
    errors.append(_errors(output, net))
  for name, each in found.items():
    assert each == found['_official'], name
  np.testing.assert_allclose(errors, errors[:1] * 5, rtol=1e-5)
  labels = {f'{stem}.JPEG': order[k] for stem, (k, _) in each.items()}
  assert labels == kinds and len(val) == 57
