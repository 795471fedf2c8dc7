r"""Caffe's bvlc_alexnet: the paper's sizes, Caffe's normalisation and solver.

  python -m alexnet_jax.tools.convert --from=bvlc_alexnet.caffemodel \
      --output=runs/bvlc
  python -m alexnet_jax.main --config=configs/bvlc.py --config.data.dir=DATA

Facts: models/bvlc_alexnet of BVLC/caffe (train_val.prototxt, solver.prototxt).
Its authors: 57.1 % top-1 and 80.2 % top-5 accuracy with the centre crop on the
validation set of ILSVRC-2012. Not yet run here.
"""

from ml_collections import config_dict

from alexnet_jax.configs import imagenet


def get_config() -> config_dict.ConfigDict:
  """imagenet.py with Caffe's network, solver and images."""
  config = imagenet.get_config()
  network(config.model, bias=0.1)
  config.mesh.column = 1  # windows of the normalisation cross the columns
  config.data.crop_size = 227  # 55 windows without padding
  config.data.resize = 'warp'  # convert_imageset: 256 x 256, whole images
  config.augment.colour_stddev = 0.0
  config.batch_size = 256
  # 450,000 minibatches; a tenth of the rate after each 100,000.
  config.total_steps = 450_000
  config.plateau.enabled = False
  config.schedule.counts = 'fractions'
  config.schedule.kernel = tuple(
    (100_000 * drop / 450_000, 10.0**-drop) for drop in range(5)
  )
  config.schedule.bias = tuple(  # lr_mult: 2
    (when, 2 * factor) for when, factor in config.schedule.kernel
  )
  return config


def network(model: config_dict.ConfigDict, *, bias: float) -> None:
  """train_val.prototxt; `bias` is the constant of the layers whose is not 0."""
  model.lrn.k = 1.0
  model.lrn.alpha_of = 'mean'  # alpha / local_size
  model.lrn.across_columns = True
  model.dropout_scaling = 'training'
  layer = model.layer
  for name in ('conv2', 'conv4', 'conv5', 'fc6', 'fc7'):
    layer[name].bias = bias
  for name in ('fc6', 'fc7'):
    layer[name].stddev = 0.005
