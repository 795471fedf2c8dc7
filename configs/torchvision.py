r"""torchvision's alexnet: one column, fewer kernels, no normalisation.

  python -m alexnet_jax.tools.convert --from=alexnet.safetensors \
      --output=runs/torchvision
  python -m alexnet_jax.main --config=configs/torchvision.py \
      --config.data.dir=DATA

The network of Krizhevsky 2014, arXiv:1404.5997, as pytorch/vision has it
(torchvision/models/alexnet.py), with the solver of its references: a rate of
0.01 and minibatches of 32 on each of 8 GPUs, 90 epochs, a tenth of the rate
after each 30, a weight decay of 0.0001. Its authors: 56.5 % top-1 and 79.1 %
top-5 accuracy with the centre crop on the validation set of ILSVRC-2012. Not
yet run here, and not the same augmentation: torchvision crops at random sizes,
this program as in §4.1 of the paper, without the colours.
"""

from ml_collections import config_dict

from alexnet_jax.configs import default, imagenet


def get_config() -> config_dict.ConfigDict:
  """imagenet.py with torchvision's network, inputs and solver."""
  config = imagenet.get_config()
  network(config.model)
  config.mesh.column = 1
  inputs(config.data)
  config.augment.colour_stddev = 0.0
  config.batch_size = 256
  config.optim.weight_decay = 1e-4
  config.optim.decay_biases = True
  config.plateau.enabled = False
  config.schedule.kernel = ((0.0, 1.0), (30.0, 0.1), (60.0, 0.01))
  config.schedule.bias = config.schedule.kernel
  return config


def network(model: config_dict.ConfigDict) -> None:
  """torchvision/models/alexnet.py."""
  model.columns = 1
  model.rounding = 'down'
  model.dropout_scaling = 'training'
  sizes = {
    'conv1': dict(kernels=64, size=11, stride=4, padding=2, inputs='image'),
    'conv2': dict(kernels=192, size=5, padding=2, inputs='own_column'),
    'conv3': dict(kernels=384, inputs='own_column'),
    'conv4': dict(kernels=256, inputs='own_column'),
    'conv5': dict(kernels=256, inputs='own_column'),
  }
  # In front of fc6 and fc7, where the paper has it behind them.
  ops = {
    'conv1': ('activation', 'pool'),
    'conv2': ('activation', 'pool'),
    'conv5': ('activation', 'pool', 'dropout'),
    'fc6': ('activation', 'dropout'),
    'fc7': ('activation',),
  }
  channels = 3
  for name, size in sizes.items():
    layer = default.conv(**size, ops=ops.get(name, ('activation',)))
    # PyTorch's initial values are uniform; here normal, as far spread.
    layer.stddev = (3 * channels * layer.size**2) ** -0.5
    model.layer[name] = layer
    channels = layer.kernels
  for name, fan_in in (('fc6', 6 * 6 * channels), ('fc7', 4096), ('fc8', 4096)):
    layer = model.layer[name]
    layer.bias, layer.stddev = 0.0, (3 * fan_in) ** -0.5
    layer.ops = ops.get(name, ())
    if name != 'fc8':
      layer.inputs = 'own_column'


def inputs(data: config_dict.ConfigDict) -> None:
  """The transforms of its weights; the mean is the checkpoint's."""
  data.channel_stddevs = (58.395, 57.12, 57.375)  # 255 x (0.229, 0.224, 0.225)
