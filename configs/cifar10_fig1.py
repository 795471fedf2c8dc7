"""Figure 1's network of four layers on CIFAR-10 (§3.1).

  python -m alexnet_jax.tools.fig1 --config=configs/cifar10_fig1.py \\
    --config.data.dir=DATA --output=FOLDER

DATA: tools.prepare of CIFAR-10 with --image_size=32. No regularisation of any
kind, as the figure's caption has it.

On 10,000 of CIFAR-10's training images: 19 minutes on two CPU cores shared with
other programs. Epochs to 25 % training error, n = 3: ReLU 16.5 (15.4 to 17.1)
at a rate of 0.002, tanh 65.4 (63.3 to 68.5) at 0.016: 4.0 times as many, the
paper has six. All of CIFAR-10: not yet run.
"""

from ml_collections import config_dict

from alexnet_jax.configs import default


def get_config() -> config_dict.ConfigDict:
  """default.py with three small convolutional layers and fc8."""
  config = default.get_config()
  config.model.columns = 1
  config.mesh.column = 1
  config.model.num_classes = 10
  _layers(config.model)

  config.optim.weight_decay = 0.0
  config.model.dropout_rate = 0.0
  config.augment.random_crop = False
  config.augment.mirror = False
  config.augment.colour_stddev = 0.0
  config.plateau.enabled = False  # one rate throughout

  config.data.source = 'prepared'
  config.data.image_size = 32
  config.data.crop_size = 32
  config.batch_size = 128  # §5; 2012: the same for CIFAR-10
  config.total_steps = None
  config.num_epochs = 200  # tools.fig1 has --most_epochs instead

  # What counts is the training error: the rest is done at the end alone.
  config.eval.every_epochs = 10**5
  config.eval.final_views = 1
  config.checkpoint.every_epochs = 10**5
  config.checkpoint.every_minutes = 1.0
  config.report.at_end = False
  config.health.min_signal = 0.0  # it is weak at first, and grows
  return config


def _layers(model: config_dict.ConfigDict) -> None:
  """32, 32 and 64 kernels, and ten classes.

  Paper silent: what the four layers of Figure 1 are.
  2012: no net of the release has tanh. The authors' smallest for CIFAR-10 also
  has four layers, of 32, 32 and 64 kernels of 5 x 5, pooled and normalised;
  kernels begin as N(0, 0.0001), then N(0, 0.01) (layers-18pct.cfg).
  Here: its numbers of kernels and initial values on pixels of 0 to 255. For
  speed conv1 has a stride of 2, and conv2 and conv3 kernels of 3 x 3; the first
  two are pooled, by maxima.
  """
  block = ('activation', 'pool')
  model.skip_layers = ('conv4', 'conv5', 'fc6', 'fc7')
  model.layer.conv5.ops = ()  # a layer that is left out keeps its pooling
  model.layer.conv1 = default.conv(
    32, size=5, stride=2, padding=1, inputs='image', ops=block, stddev=1e-4
  )
  model.layer.conv2 = default.conv(32, inputs='own_column', ops=block)
  model.layer.conv3 = default.conv(64, inputs='own_column')
