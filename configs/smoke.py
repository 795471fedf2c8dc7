"""A narrow two-column net that tests the machinery: it does not learn.

  launch/local.sh --config=configs/smoke.py --workdir=/tmp/smoke

A dozen steps on drawn images, under a minute on two CPU cores, to see whether
everything runs; its error stays at chance. configs/quick.py learns.
"""

from ml_collections import config_dict

from alexnet_jax.configs import default


def get_config() -> config_dict.ConfigDict:
  """default.py with an eighth of the kernels on 80 x 80 images."""
  config = default.get_config()
  for name, layer in config.model.layer.items():
    if name.startswith('conv'):
      layer.kernels //= 8
  config.model.layer.fc6.units = 64
  config.model.layer.fc7.units = 64
  config.model.num_classes = 10
  config.data.image_size = 80
  config.data.crop_size = 67  # conv1: 15 x 15 windows, pool5: 1 x 1
  config.data.embedded_train_images = 96
  config.data.embedded_val_images = 50
  config.batch_size = 16
  config.total_steps = 12  # two epochs
  config.eval.batch_size = 32
  config.report.at_end = False  # takes longer than the rest
  config.health.min_signal = 0.0  # so narrow a net has weaker logits
  return config
