"""What users get wrong, and what others may send them: one line for each.

Every row is a command with one thing wrong. It ends with exit code 1, or 2 for
a flag that cannot be read, and with one line that names what is wrong and what
to do; no file has changed. What is in the files may be hostile: nothing of it
is run, no name in it leads out of its folder.

Damage that training finds in its own checkpoints is in tests/faults: such a
step is set aside, and the run goes on.
"""

import os
import shutil
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests import commands, damage
from tests.damage import cut, edited, emptied, gone, metadata, step, written

# Flags of smoke.py: what the line says is wrong, and what to do.
CONFIGS = [
  ('batch_size=0', 'batch_size = 0', 'from 1 to 65536'),
  ('batch_size=-16', 'batch_size = -16', 'from 1 to 65536'),
  ('batch_size=1000000000', '1000000000', 'from 1 to 65536'),
  ('batchsize=3', 'config.batchsize', 'there is batch_size'),
  ('optim.lr=3', 'config.optim.lr', 'there is optim.'),
  ('=3', '--config.:', 'there is ablations, augment'),
  ('optim=3', '--config.optim has fields', 'such as --config.optim.'),
  ('model.layer={}', 'config.model.layer has', 'such as --config.model.layer.'),
  ('num_epochs=0', 'num_epochs = 0', 'from 1 to 100000'),
  ('total_steps=0', 'total_steps = 0', 'from 1 to 2147483647'),
  ('total_steps=3000000000', '3000000000', 'from 1 to 2147483647'),
  ('seed=-1', 'seed = -1', 'from 0 to 4294967295'),
  ('seed=99999999999999999999', '99999999999', 'from 0 to 4294967295'),
  ('mesh.data=0', 'mesh.data = 0', 'from 1 to 1024'),
  ('mesh.data=3', 'batch_size = 16', 'such as 15'),
  ('grad_accumulation_steps=3', 'the 16 images', 'use a divisor'),
  ('mesh.column=0', 'mesh.column = 0', 'number 1 or more'),
  ('mesh.column=3', 'mesh.column = 3', 'use --config.mesh.column=1'),
  ('optim.learning_rate=nan', 'learning_rate = nan', 'number 0 or more'),
  ('optim.learning_rate=inf', 'learning_rate = inf', 'number 0 or more'),
  ('optim.learning_rate=-0.1', 'learning_rate = -0.1', 'number 0 or more'),
  ('optim.momentum=1', 'momentum = 1.0', '0 or more and below 1'),
  ('optim.weight_decay=inf', 'weight_decay = inf', 'number 0 or more'),
  ('plateau.factor=1.5', 'factor = 1.5', 'above 0 and below 1'),
  ('health.min_signal=nan', 'min_signal = nan', 'number 0 or more'),
  ('model.dropout_rate=1', 'dropout_rate = 1.0', '0 or more and below 1'),
  ('model.lrn.k=0', 'lrn.k = 0.0', 'number above 0'),
  ('model.lrn.n=4', 'lrn.n = 4', 'use an odd number'),
  ('model.lrn.alpha=nan', 'lrn.alpha = nan', 'number 0 or more'),
  ('model.lrn.beta=-inf', 'lrn.beta = -inf', 'number within +-1e+09'),
  ('model.columns=0', 'columns = 0', 'from 1 to 1024'),
  ('model.columns=3', 'has 3 columns', 'use --config.mesh.column=1'),
  ('model.num_classes=1', 'num_classes = 1', 'from 2 to 1000000'),
  ('model.num_classes=9', 'num_classes = 9', '--config.model.num_classes=10'),
  ('model.activation=rleu', "'rleu'", "use 'relu' or 'tanh'"),
  ('model.skip_layers=conv9', "skip_layers holds 'conv9'", 'use conv2'),
  ('model.layer.conv1.ops=poool', "ops holds 'poool'", 'use activation'),
  ('model.layer.conv1.inputs=both', "conv1.inputs = 'both'", "use 'image'"),
  ('model.layer.conv2.kernels=31', 'conv2.kernels = 31', 'use a multiple'),
  ('model.layer.conv2.stride=0', 'conv2.stride = 0', 'from 1 to 4096'),
  ('model.layer.conv2.stddev=nan', 'conv2.stddev = nan', 'number 0 or more'),
  ('model.pool.stride=4', 'stride = 4', 'size = 3 or less'),
  ('data.crop_size=81', 'crop_size = 81', 'use that or less'),
  ('data.crop_size=20', 'the 2 x 2 maps of conv2', 'use a larger config.data'),
  ('data.image_size=100000', 'image_size = 100000', 'from 1 to 4096'),
  ('data.source=imagenet', "source = 'imagenet'", "use 'embedded' or"),
  ('data.dir=/data', 'data.dir = /data', 'add --config.data.source=prepared'),
  ('data.source=tfds', "config.data.tfds = ''", '--config.data.tfds='),
  ('data.tfds=mnist', "data.tfds = 'mnist'", '--config.data.source=tfds'),
  ('data.read_threads=-1', 'read_threads = -1', 'from 0 to 1024'),
  ('checkpoint.every_minutes=-1', 'minutes = -1.0', 'number 0 or more'),
  ('guard.max_skipped_steps=-1', 'steps = -1', 'whole number 0 or more'),
  ('eval.final_views=5', 'final_views = 5', 'use 1 or 9 or 10'),
  ('schedule.kernel=((1,1),)', '((1, 1),)', 'use times that begin with 0'),
  ('schedule.kernel=()', 'kernel = ()', 'use times that begin with 0'),
  ('schedule.kernel=0', 'kernel = (0,)', 'use pairs of a time and a factor'),
  ('schedule.bias=((0,-1),)', '((0, -1),)', 'use factors of 0 or more'),
  ('schedule.bias=((0,1),(9,1),(5,1))', '(5, 1)', 'begin with 0 and rise'),
  ('schedule.bias=((0,1),(1e999,1))', '(inf, 1)', 'use pairs of a time'),
  ('schedule.bias=((0,1),(1e9,1))', '(1000000000.0, 1)', 'below 100,000'),
  (f'schedule.kernel=((0,{"9" * 400}),)', '9999)', 'use pairs of a time'),
  ('augment.images_per_draw=100000000000000000000', '0000', 'a whole number'),
  ('model.lrn.n=999999999', 'lrn.n = 999999999', 'from 1 to 4096'),
  ('optim.learning_rate=1e39', 'learning_rate = 1e+39', 'number 0 or more'),
  ('num_epochs=5 --config.total_steps=3', 'both say how long', 'one of the'),
  ("ablations=('tanh',)", 'config.ablations', 'use --ablation=NAME'),
]

START = """
from alexnet_jax.configs import smoke
def get_config():
  c = smoke.get_config()
"""
# A config file of the user's own.
CONFIG_FILES = [
  ('def get_config(:\n', 'my.py cannot be used: SyntaxError', 'Mend it'),
  ('import nosuch\n', 'line 1: ModuleNotFoundError: No module', 'Mend it'),
  ('x = 1\n', 'my.py gives no ConfigDict', 'let its get_config() return one'),
  (START, 'my.py gives no ConfigDict', 'let its get_config() return one'),
  (
    f'{START}  c.optim.momentun = 0.8\n  return c\n',
    'config.optim.momentun: no such field',
    'there is optim.momentum',
  ),
  (
    f'{START}  del c.optim.momentum\n  return c\n',
    'config.optim.momentum is missing',
    'begin with the get_config() of alexnet_jax.configs.default',
  ),
  *(
    (
      f'{START}  del c.{section}\n  return c\n',
      f'config.{section}',
      'begin with the get_config() of alexnet_jax.configs.default',
    )
    for section in ('model', 'model.layer.fc8', 'ablations')
  ),
  (
    f"{START}  c.batch_size = 'many'\n  return c\n",
    'line 5: TypeError',
    'Mend it',
  ),
  (
    f"{START}  c.log = dict(every_steps='often')\n  return c\n",
    "log.every_steps = 'often'",
    'use a whole number 1 or more',
  ),
]

START_FROZEN = f'{START}  from ml_collections import config_dict\n'
CONFIG_FILES += [
  ('raise SystemExit(0)\n', 'line 1: SystemExit: 0', 'Mend it'),
  (f'{START}  c.self = c\n  return c\n', 'RecursionError', 'Mend it'),
  (
    f'{START_FROZEN}  return config_dict.FrozenConfigDict(c)\n',
    'my.py gives no ConfigDict',
    'let its get_config() return one',
  ),
  (
    f'{START_FROZEN}  c.note = config_dict.required_placeholder(int)\n'
    '  return c\n',
    'RequiredValueError',
    'Mend it',
  ),
  (
    f'{START}  t = ()\n  for _ in range(3000): t = (t,)\n  c.data.embedded_'
    'classes = t\n  return c\n',
    'config.data.embedded_classes is nested more than 50 deep',
    'Mend it',
  ),
]

# The exit code, and flags that are wrong whatever the config.
FLAGS = [
  (1, '', '--config is missing', 'use one such as --config=default'),
  (1, '--config', '--config is missing', 'use one such as --config=default'),
  (1, '--config=nosuch.py', '--config=nosuch.py', 'there is bvlc, caffenet'),
  (1, '--config=README.md', '--config=README.md', 'there is bvlc, caffenet'),
  (1, '--config=configs/imagnet.py', 'no such Python', 'there is imagenet'),
  (1, '--config=x/imagenet.py', 'no such Python file', 'there is imagenet'),
  (1, '--config imagnet', '--config=imagnet', 'there is imagenet'),
  (1, '--config=smoke:x', 'smoke:x cannot be used: TypeErr', 'Mend it'),
  (1, 'SMOKE:x', 'smoke.py:x cannot be used: TypeError', 'Mend it'),
  (1, 'SMOKE --flagfile=/no/such', '/no/such', 'give --flagfile a file'),
  (1, 'SMOKE --ablation=no_lnr', 'no_lnr is unknown', 'there is no_lrn'),
  (1, 'SMOKE --ablation=tanh --ablation=tanh', 'is given twice', 'give it'),
  (
    *(1, 'SMOKE --ablation=ungrouped --ablation=no_exchange'),
    *('cannot be made together', 'use one of them'),
  ),
  (
    *(1, 'SMOKE --ablation=no_dropout --config.model.dropout_rate=0.3'),
    *('but --ablation=no_dropout sets it to 0.0', 'use one of the two'),
  ),
  (1, 'SMOKE --mode=eval --restore=,', 'no checkpoint', 'give'),
  (1, 'SMOKE --split=test', '--split=test goes with', '--mode=eval'),
  (1, 'SMOKE --restore=x', '--restore=x goes with --mode=eval', '--workdir'),
  (1, 'SMOKE --profile=5', '--profile=5: give the first', 'as 10:12'),
  (1, 'SMOKE --profile=5:4', '--profile=5:4: give the first', 'as 10:12'),
  (1, 'SMOKE --profile=0:4', '--profile=0:4: give the first', 'as 10:12'),
  (1, 'SMOKE --profile=9:99', 'the run has 12 steps', 'give some of'),
  (1, 'SMOKE --profile=1:2 --mode=eval', '--profile=1:2 goes with', '=train'),
  (2, 'SMOKE --wrkdir=x', "flag 'wrkdir'", 'Did you mean: workdir'),
  (2, 'SMOKE train', "'train' is no flag", '--help lists the flags'),
  (2, 'SMOKE --workdir', 'Missing value for flag --workdir', '--help lists'),
  (2, 'SMOKE --mode=evil', '--mode=evil', 'one of <train|eval|summary>'),
  (2, 'SMOKE --config.batch_size=many', 'size=many: use a whole number'),
  (2, 'SMOKE --config.batch_size=3.5', 'size=3.5: use a whole number'),
  (2, 'SMOKE --config.optim.momentum=big', 'momentum=big: use a number'),
  (2, 'SMOKE --config.data.reshuffle=maybe', 'reshuffle=maybe: use true or'),
  (2, 'SMOKE --config.schedule.bias=((0,1)', 'bias=((0,1)', 'use quotes'),
]


def linked_lock(here):
  (here / 'l').mkdir()
  (here / 'outside').write_text('not ours')
  (here / 'l/.lock').symlink_to(here / 'outside')


# Files and folders that flags name.
def no_permission(here):
  if os.geteuid():
    (here / 'data/mean_image.npy').chmod(0)
  else:  # root may read all; a folder in its place is no damage either
    (here / 'data/mean_image.npy').unlink()
    (here / 'data/mean_image.npy').mkdir()


PREPARED = '--config.data.source=prepared --config.data.dir='
TFDS = '--config.data.source=tfds --config.data.dir=tfds --config.data.tfds='
FOREIGN = b'{"pythonClassName": "this.Features", "featuresDict": {}}'
PETS = damage.both(
  damage.folder('tfds/pets/1.0.0'),
  written('tfds/pets/1.0.0/features.json', FOREIGN),
)
FOLDERS = [
  ('--workdir=f', written('f'), 'f is a file', 'give another --workdir'),
  ('--workdir=~nosuch/w', None, '~nosuch has no home', 'give the whole path'),
  ('--workdir=f/w', written('f'), "'f/w'", 'but the last is a folder'),
  (f'--workdir={"w" * 300}', None, 'name too long', 'give a shorter one'),
  (PREPARED, None, 'no folder given', 'use --config.data.dir=DIR'),
  (f'{PREPARED}/no/such', None, "'/no/such'", 'tools.prepare --source'),
  (f'{PREPARED}f', written('f'), "set at 'f'", 'tools.prepare --source'),
  (f'{PREPARED}~nosuch/f', None, '~nosuch has no', 'give the whole path'),
  (f'{PREPARED}\x1b[31mf', None, r'\x1b[31mf', 'tools.prepare --source'),
  (
    *(f'{PREPARED}data', metadata(resize='warp')),
    *('prepared with --resize=warp, but', 'use --config.data.resize=warp, or'),
  ),
  (
    *(f'{PREPARED}data --config.data.resize=warp', None),
    *('prepared with --resize=crop, but', 'prepare again with --resize=warp'),
  ),
  ('--workdir=\udcff', None, 'is not UTF-8', 'give another'),
  (f'{PREPARED}\udcff', None, 'is not UTF-8', 'give another'),
  (f'{PREPARED}data', no_permission, 'mean_image.npy', ': give'),
  ('--workdir=l', linked_lock, 'l/.lock is a link', 'remove it'),
  (f'{TFDS}nosuch', None, "no data set 'nosuch'", 'see https://'),
  (f'{TFDS}some:pets', None, "no data set 'some:pets'", 'give NAME'),
  (f'{TFDS}pets', PETS, "names 'this.Features'", 'with the features of TFDS'),
]

# Of metadata.json, for all of which the advice is to prepare the data again.
TWICE = [{'id': 'n0', 'name': 'a', 'words': 'a'}] * 10
METADATA = [
  (gone('data/metadata.json'), 'it has no metadata.json'),
  (written('data/metadata.json'), 'is damaged (Expecting value'),
  (cut('data/metadata.json', end=-9), 'metadata.json is damaged (Expecting'),
  (written('data/metadata.json', b'\xff'), "damaged ('utf-8' codec can't"),
  (written('data/metadata.json', damage.program), 'metadata.json is damaged'),
  (written('data/metadata.json', b'[]'), '[] where an object was expected'),
  (written('data/metadata.json', b'[' * 10**5), 'maximum recursion depth'),
  (metadata(format_version=2), 'format_version 2, this program reads 1'),
  (metadata(format_version=True), 'format_version is True, not a whole number'),
  (metadata(encoding='png'), "encoding 'png', this program reads raw or jpeg"),
  (metadata(encoding=['raw']), "encoding is ['raw'], not text"),
  (metadata(name=None), 'name is missing'),
  (metadata(name=7), 'name is 7, not text'),
  (metadata(name='\x1b[2J'), r"name '\x1b[2J' has characters"),
  (metadata(resize='squash'), "resize 'squash', this program reads crop or"),
  (metadata(resize=True), 'resize is True, not text'),
  (metadata(image_size='80'), "image_size is '80', not a whole number"),
  (metadata(image_size=-80), 'image_size is -80, not 1 to 4096'),
  (metadata(image_size=64), 'prepare again with --image_size=80'),
  (metadata(splits=None), 'splits is missing'),
  (metadata(splits=[]), 'splits is [], not an object'),
  (metadata(splits={}), 'val expected'),
  (metadata('splits', train=None), 'has no training images'),
  (metadata('splits', train=3), '3 where an object was expected'),
  (metadata('splits', 'val', num_images='24'), "num_images is '24', not"),
  (metadata('splits', 'val', num_images=-24), 'num_images is -24'),
  (metadata('splits', 'val', num_images=25), 'has 24 val images, but its'),
  (metadata('splits', 'val', shards='val'), "shards is 'val', not a list"),
  (metadata('splits', 'val', shards=[]), 'the val split has no shards'),
  (metadata('splits', 'val', shards=[7]), 'shards is 7, not text'),
  (metadata('splits', 'val', shards=['../val']), "'../val' is no plain file"),
  (metadata('splits', 'val', shards=['/val']), "'/val' is no plain file name"),
  (metadata('splits', 'val', shards=['..']), "'..' is no plain file name"),
  (metadata('splits', 'val', shards=['train']), "'train' is listed 2 times"),
  (metadata('splits', 'val', shards=['lost']), 'is incomplete: lost'),
  (metadata(classes={}), 'classes is {}, not a list'),
  (metadata(classes=[]), 'classes is empty'),
  (metadata(classes=[{'id': 'n0'}]), 'name is missing'),
  (metadata('classes', 0, id=7), 'id is 7, not text'),
  (metadata(classes=TWICE), "the class 'n0' is listed 10 times"),
  (metadata(checksums=[]), 'checksums is [], not an object'),
]

# The mean image and the RGB components: the fix is to write them again.
MEAN, PCA = 'data/mean_image.npy', 'data/rgb_pca.npz'
IMAGE = np.ones((80, 80, 3), np.float32)
AXES, STDDEVS = np.eye(3, dtype=np.float32), np.ones(3, np.float32)
STATISTICS = [
  (gone(MEAN), 'No such file'),
  (written(MEAN), 'No data left in file'),
  (cut(MEAN, end=999), 'cannot read the statistics of data'),
  (written(MEAN, damage.program), 'contains pickled (object) data'),
  (written(MEAN, damage.program_npy), 'allow_pickle=False'),
  (
    written(MEAN, damage.npy(IMAGE[:64])),
    'shape (64, 80, 3), expected (80, 80, 3)',
  ),
  (
    written(MEAN, damage.npy(IMAGE.astype('i4'))),
    'expected an array of floats',
  ),
  (
    written(MEAN, damage.npy(IMAGE * np.nan)),
    'values outside 0 to 255, or NaN',
  ),
  (written(MEAN, damage.npy(IMAGE * 256)), 'values outside 0 to 255, or NaN'),
  (written(MEAN, damage.npz(a=IMAGE)), 'cannot read the statistics of data'),
  (gone(PCA), 'No such file'),
  (written(PCA, b'PK\3\4'), 'cannot read the statistics of data'),
  (cut(PCA, end=-99), 'cannot read the statistics of data'),
  (written(PCA, damage.program_npz), 'allow_pickle=False'),
  (written(PCA, damage.npy(AXES)), 'cannot read the statistics of data'),
  (written(PCA, damage.npz(components=AXES)), 'stddevs is not a file'),
  (
    written(PCA, damage.npz(components=AXES[0], stddevs=STDDEVS)),
    'shape (3,), expected (3, 3)',
  ),
  (
    written(PCA, damage.npz(components=AXES, stddevs=-STDDEVS)),
    'values outside 0 to 255, or NaN',
  ),
]

# Of the records: to prepare the data again.
RECORDS = [
  (written('data/train'), 'data/train is damaged'),
  (written('data/train', b'x' * 999), 'data/train is damaged'),
  (cut('data/train', end=-9), 'data/train is damaged'),
  (cut('data/val', start=9), 'data/val is damaged'),
  (damage.split('train', []), 'data has 0 train images, but its metadata.json'),
  (damage.every_record('train', damage.record(-1)), 'its label is -1, classes'),
  (damage.every_record('train', damage.record(10)), 'its label is 10, classes'),
  (damage.every_record('val', damage.record(99)), 'its label is 99, classes'),
  (damage.every_record('val', damage.record(pixels=9)), 'image 0 of val'),
  (damage.every_record('val', b''), 'image 0 of val: unpack'),
  (damage.every_record('val', b'\0\0\0\0\xff\xff'), 'image 0 of val: offset'),
]

# What tools.prepare is told to read and to write.
OUT = '--output=out --source='
KIT = 'ILSVRC2012_devkit_t12.tar.gz'
FOREIGN_PARTIAL = (damage.folder('out.partial'), written('out.partial/mine'))
SOURCES = [
  ('--output=out', None, '--source is missing', '--help says'),
  ('--source=tree', None, '--output is missing', '--help says'),
  (f'{OUT}nosuch', None, 'no source at', 'give --source, a folder'),
  (f'{OUT}~nosuch/f', None, '~nosuch has no home', 'give the whole path'),
  (f'{OUT}.', None, 'holds no images', 'or class folders train/CLASS/IMAGE'),
  (f'{OUT}f', written('f', b'Dear diary'), 'f is not a whole', 'decompress it'),
  (
    *(f'{OUT}a.tar', damage.both(damage.tar('a.tar'), cut('a.tar', end=1400))),
    *('a.tar is cut short', 'download it again'),
  ),
  (
    *(f'{OUT}a.tar', damage.endless_tar('a.tar')),
    *('a.tar is damaged', 'download it again'),
  ),
  (
    f'{OUT}a.tgz',
    damage.both(damage.tar('a.tgz', mode='w:gz'), cut('a.tgz', end=99)),
    *('a.tgz is damaged or cut short', 'download it again'),
  ),
  (
    *(f'{OUT}official', damage.downloads(gone(f'official/{KIT}'))),
    *(f'{KIT} is missing', 'download it from image-net.org'),
  ),
  (
    *(f'{OUT}official', damage.downloads(cut(f'official/{KIT}', end=1400))),
    *(f'{KIT} is not a whole ILSVRC2012 devkit', 'download it again'),
  ),
  (
    f'{OUT}official',
    damage.downloads(written('official/ILSVRC2012_img_val.tar', b'x')),
    *('img_val.tar is not a whole', 'download it again'),
  ),
  (
    *('--source=tree --output=tree', damage.class_folders()),
    *('tree exists and is no prepared data set', 'give another --output'),
  ),
  (
    *('--source=tree --output=f/out', damage.class_folders(written('f'))),
    *('/f is no folder', 'give another --output'),
  ),
  (
    *(f'{OUT}tree', damage.class_folders(*FOREIGN_PARTIAL)),
    *('out.partial was not made by prepare', 'move it away'),
  ),
  (
    *(f'--source=tree --output={"o" * 250}', damage.class_folders()),
    *('name too long', 'give a shorter one'),
  ),
  (
    *('--source=tree --output=\udcff', damage.class_folders()),
    *('is not UTF-8', 'give another'),
  ),
  (f'{OUT}tfds:nosuch', None, "no data set 'nosuch'", 'see https://'),
  (f'{OUT}tfds:some:pets', None, "data set 'some:pets'", 'give NAME'),
  (f'{OUT}tfds:pets --tfds_data_dir=tfds', PETS, 'this.F', 'features of TFDS'),
  (
    *('--source=tree --output=data', damage.class_folders()),
    *('data exists and is complete', 'give another --output'),
  ),
  ('--stats_only', None, '--stats_only', 'or with --output=DIR of a prepared'),
  ('--stats_only --output=.', None, 'it has no metadata.json', 'make one with'),
]
SOURCE_FLAGS = [
  ('--image_size=0', '--image_size=0', 'in the range [1, 4096]'),
  ('--image_size=1000000', '--image_size=1000000', 'in the range [1, 4096]'),
  ('--encoding=png', '--encoding=png', 'one of <raw|jpeg>'),
  ('--resize=squash', '--resize=squash', 'one of <crop|warp>'),
  ('--jpeg_quality=96', '--jpeg_quality=96', 'in the range [1, 95]'),
  ('--workers=0', '--workers=0', 'not a positive integer'),
]

# What --mode=eval is told to restore.
RUN = '--restore=run'
META = 'run/checkpoints/1/meta/metadata'
SUMS = 'run/checkpoints/1/files.json'
ARRAYS = 'run/checkpoints/1/state/manifest.ocdbt'
ANOTHER = 'use another step of the run'
ORBAX = f'{damage.STEP}/_CHECKPOINT_METADATA'
DONE = f'{damage.STEP}/commit_success.txt'


def linked(name):
  """A file or folder that is moved out of the run, and a link to it."""

  def way(here):
    (here / name).rename(here / 'elsewhere')
    (here / name).symlink_to(here / 'elsewhere')

  return way


def fifo(name):
  def way(here):
    (here / name).unlink()
    os.mkfifo(here / name)

  return way


def renamed(here):
  (here / damage.STEP).rename(here / 'run/checkpoints/555')


BAD_LABELS = damage.split('val', [damage.record(10), damage.record()] * 12)
CHECKPOINTS = [
  ('--restore=/no/such', None, '/no/such does not exist', 'give a WORKDIR'),
  ('--restore=.', None, '. is no checkpoint', 'give a WORKDIR'),
  ('--restore=f', written('f'), 'f is no checkpoint', 'give a WORKDIR'),
  ('--workdir=w', None, 'w does not exist', 'give a WORKDIR'),
  ('--restore=~nosuch/w', None, '~nosuch has no home', 'give the whole path'),
  (RUN, emptied(damage.STEP), 'run/checkpoints/1 is damaged', ANOTHER),
  (RUN, cut(SUMS, end=50), 'its files.json cannot be read', ANOTHER),
  (RUN, gone(f'{damage.STEP}/meta'), 'run/checkpoints/1 is damaged', ANOTHER),
  (RUN, written(META, b'{'), 'its file meta/metadata is not', ANOTHER),
  (RUN, step(written(META, b'{')), 'its meta/metadata cannot be', ANOTHER),
  (RUN, step(written(META, b'[]')), 'its meta/metadata is no', ANOTHER),
  (RUN, step(written(META, damage.program)), 'its meta/metadata', ANOTHER),
  (RUN, step(edited(META, config=None)), 'its meta has no config', ANOTHER),
  (RUN, step(edited(META, digests={})), 'is not the one that', ANOTHER),
  (RUN, step(edited(META, classes=[])), 'knows the 0 classes', 'use that data'),
  (RUN, step(gone(ARRAYS)), 'its state cannot be read', ANOTHER),
  (RUN, step(written(ARRAYS, damage.program)), 'its state', ANOTHER),
  (RUN, step(edited(META, config={})), 'has no model', 'another checkpoint'),
  (RUN, step(edited(META, 'config', __class__=1)), 'no field has', ANOTHER),
  (RUN, step(edited(META, versions=None)), 'has no versions', ANOTHER),
  (RUN, step(written(META, b'[' * 10**5)), 'maximum recursion', ANOTHER),
  (RUN, written(ORBAX, b'\x1b[2J'), 'its _CHECKPOINT_METADATA', ANOTHER),
  (RUN, edited(ORBAX, item_handlers={}), 'is of other items', ANOTHER),
  (RUN, edited(ORBAX, init_timestamp_nsecs='x'), 'is not what', ANOTHER),
  (RUN, gone(ORBAX), 'its _CHECKPOINT_METADATA cannot be', ANOTHER),
  (RUN, written(DONE), 'its commit_success.txt is not', ANOTHER),
  (RUN, linked(f'{damage.STEP}/state'), 'its state is a link', ANOTHER),
  (RUN, linked(ARRAYS), 'manifest.ocdbt is a link', ANOTHER),
  (RUN, fifo(SUMS), 'its files.json cannot be read', ANOTHER),
  (f'{RUN}/checkpoints/555', renamed, 'its arrays are of step 1', ANOTHER),
  (
    *(RUN, damage.signed(BAD_LABELS)),
    *('11 images are damaged, more than config.data.max', 'Prepare the data'),
  ),
  (
    *(f'{RUN} --config.model.layer.conv1.kernels=24', None),
    *('conv1.kernels = 24', 'was trained with 12: leave it out'),
  ),
  (
    *(f'{RUN} --config.model.num_classes=11', None),
    *('num_classes = 11', 'was trained with 10: leave it out'),
  ),
  (
    *(f'{RUN} --ablation=tanh', None),
    *("activation = 'tanh'", "was trained with 'relu': leave it out"),
  ),
]
# What tools.checkpoint is told to look at.
LISTED = [
  ('', None, '--dir is missing', 'give a WORKDIR'),
  ('--dir=/no/such', None, '/no/such does not exist', 'give a WORKDIR'),
  ('--dir=run --show_config', emptied(damage.STEP), 'is damaged', ANOTHER),
]


class Row(NamedTuple):
  """A command with one thing wrong.

  Attributes:
    group: of the table.
    flags: as they are typed.
    damage: makes or damages files in the folder it is run in.
    says: what the line holds.
    code: exit code.
    module: the command.
  """

  group: str
  flags: str
  damage: Any
  says: tuple[str, ...]
  code: int = 1
  module: str = 'alexnet_jax.main'


def _rows():
  prepared = f'SMOKE --workdir=w {PREPARED}data'
  again = ('tools.prepare --source',)
  for flag, *says in CONFIGS:
    yield Row('config', f'SMOKE --workdir=w --config.{flag}', None, says)
  for text, *says in CONFIG_FILES:
    way = written('my.py', text.encode())
    yield Row('config file', '--config=my.py --workdir=w', way, says)
  for code, flags, *says in FLAGS:
    yield Row('flag', flags, None, says, code)
  for flags, way, *says in FOLDERS:
    yield Row('folder', f'SMOKE {flags}', way, says)
  for way, said in METADATA:
    fix = () if '--image_size' in said else again
    yield Row('metadata', prepared, way, (said, *fix))
  for way, said in STATISTICS:
    fix = 'tools.prepare --stats_only --output=data'
    yield Row('statistics', prepared, damage.signed(way), (said, fix))
  for way, said in RECORDS:
    yield Row('records', prepared, damage.signed(way), (said, *again))
  for name in ('mean_image.npy', 'rgb_pca.npz', 'train', 'val'):
    way, fix = damage.cut(f'data/{name}', end=-1), 'copy it again'
    yield Row('sums', prepared, way, (f'data/{name} is not what was', fix))
  tool = 'alexnet_jax.tools.prepare'
  for flags, way, *says in SOURCES:
    yield Row('source', flags, way, says, module=tool)
  for flags, *says in SOURCE_FLAGS:
    yield Row('source', flags, None, says, code=2, module=tool)
  evaluate = f'SMOKE --mode=eval {PREPARED}data'
  for flags, way, *says in CHECKPOINTS:
    yield Row('checkpoint', f'{evaluate} {flags}', way, says)
  tool = 'alexnet_jax.tools.checkpoint'
  for flags, way, *says in LISTED:
    yield Row('checkpoint', flags, way, says, module=tool)


ROWS = list(_rows())


@pytest.fixture(scope='module')
def sound(tmp_path_factory, command):
  """A prepared data set, and a run of a step on it."""
  folder = tmp_path_factory.mktemp('sound')
  damage.prepare(folder / 'data')
  flags = f'SMOKE --workdir=run {PREPARED}data --config.total_steps=1'
  done = _run(
    command, Row('', f'{flags} --config.eval.final_views=1', None, ()), folder
  )
  assert done.returncode == 0, done.stderr
  return folder


def _run(command, row, here):
  flags = row.flags.replace(
    'SMOKE', f'--config={commands.ROOT}/configs/smoke.py'
  )
  return command(row.module, *flags.split(' ') if flags else (), cwd=here)


def _look(here):
  """Every file and folder: name, size and time of the last change."""
  found = ((path, path.lstat()) for path in [here, *here.rglob('*')])
  return {path: (info.st_size, info.st_mtime_ns) for path, info in found}


@pytest.mark.parametrize(
  'row', ROWS, ids=[f'{row.group}: {row.says[0]}' for row in ROWS]
)
def test_costs_one_line_and_changes_nothing(row, sound, command, tmp_path):
  for name in ('data', 'run'):
    if f'={name}' in row.flags:
      shutil.copytree(sound / name, tmp_path / name)
  if row.damage:
    row.damage(tmp_path)
  before = _look(tmp_path)
  done = _run(command, row, tmp_path)
  assert _look(tmp_path) == before
  assert done.returncode == row.code, done.stderr
  line, end, rest = done.stderr.partition('\n')
  assert line.startswith('error: ') and (end, rest) == ('\n', ''), done.stderr
  assert line.isprintable()
  for part in row.says:
    assert part in line


def test_there_are_sixty_rows_and_no_two_are_the_same():
  assert len(ROWS) >= 60
  distinct = {(row.flags, row.damage, *row.says) for row in ROWS}
  assert len(distinct) == len(ROWS)
