"""A small net of two columns on photos of CIFAR-10: a base for tools.study.

  python -m alexnet_jax.tools.prepare --source=PHOTOS --val_share=0.8 \\
    --image_size=32 --output=DATA
  python -m alexnet_jax.tools.study --base=configs/study_cifar.py \\
    --set=data.dir=DATA --seeds=0,1,2,3,4 \\
    --ablations=no_crops,no_dropout,no_lrn,no_overlap,one_gpu_half

PHOTOS has train/CLASS/IMAGE, as a folder or an archive. What the paper's
methods against overfitting do shows in little time only if there are few images
to train on: of 10,000 a fifth is for training, the others measure the error to
half a point. docs/experiments.md has the whole of CIFAR-10.

Points of top-1 error, five seeds: crops 3.1, dropout 2.7, normalisation 4.7,
half the kernels 2.4; overlapping pooling cannot be told from noise. 54 s of
processor time a run (AMD EPYC with AVX-512).

Every ablation leaves maps as large as they are. Rates and initial values were
chosen with the base and no_dropout, on other splits of the same images.
"""

from ml_collections import config_dict

from alexnet_jax.configs import default


def get_config() -> config_dict.ConfigDict:
  """default.py with three convolutional layers, on 28 of 32 pixels."""
  config = default.get_config()
  config.mesh.column = 1
  config.model.num_classes = 10
  _layers(config.model)

  config.data.source = 'prepared'
  config.data.image_size = 32
  config.data.crop_size = 28
  config.batch_size = 64
  config.grad_accumulation_steps = 1
  config.total_steps = None
  config.num_epochs = 50
  config.optim.learning_rate = 0.01
  config.plateau.enabled = False  # all nets learn for as long
  config.schedule.counts = 'fractions'
  config.schedule.kernel = config.schedule.bias = ((0.0, 1.0), (0.8, 0.1))

  config.eval.every_epochs = 10
  config.eval.batch_size = 200
  config.eval.final_views = 1
  config.checkpoint.every_epochs = 10**5  # at the end alone
  config.report.at_end = False
  config.health.min_signal = 0.0  # so narrow a net has weaker logits
  return config


def _layers(model: config_dict.ConfigDict) -> None:
  """Maps of 16 x 16, 8 x 8 and 4 x 4, whether pooling overlaps or not.

  Initial values are such that images go through all layers: those of the paper
  are for layers ten times as wide.
  """
  block = ('activation', 'lrn', 'pool')
  model.skip_layers = ('conv4', 'conv5')
  model.layer.conv5.ops = ()  # a layer that is left out keeps its pooling
  model.layer.conv1 = default.conv(
    32, size=5, stride=2, padding=3, inputs='image', ops=block
  )
  model.layer.conv2 = default.conv(
    64, inputs='own_column', ops=block, stddev=0.05
  )
  model.layer.conv3 = default.conv(64, inputs='both_columns', stddev=0.05)
  for name in ('fc6', 'fc7'):
    model.layer[name] = default.dense(
      512,
      inputs='both_columns',
      ops=('activation', 'dropout'),
      stddev=0.05,
    )
  model.layer.fc8.stddev = 0.02
