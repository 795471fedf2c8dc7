r"""Fine-tuning a trained network on a folder of one's own images (§6).

  launch/local.sh --config=configs/finetune.py \
      --config.data.dir=PHOTOS --config.init_from=RUN

PHOTOS has a folder of images for each class, or is an archive of such folders,
or a prepared data set. The network is that of RUN but for fc8, which gets as
many units as there are classes. See docs/photos.md.
"""

from ml_collections import config_dict

from alexnet_jax.configs import imagenet

_LOW = ('conv1', 'conv2', 'conv3', 'conv4', 'conv5', 'conv6')


def get_config() -> config_dict.ConfigDict:
  """imagenet.py with the network of another run, and rates for few images."""
  config = imagenet.get_config()
  config.init_from = 'REQUIRED'  # refused until it is given
  config.init_layers = 'network'
  config.model.num_classes = None  # as many as the data have
  # By the number of training images, see config/of_data.py.
  config.batch_size = config_dict.placeholder(int)
  config.num_epochs = config_dict.placeholder(int)
  config.mesh.column = 1  # one device holds both columns
  # Rates are for 32 images and in proportion for fewer. Those of the layers
  # that are taken are a tenth of the paper's and less: they have been trained.
  config.optim.learning_rate = 0.001
  config.batch_scaling.rule = 'linear'
  config.batch_scaling.base_batch_size = 32
  for layer in _LOW:
    config.schedule.layer[layer].kernel = ((0.0, 0.1),)
    config.schedule.layer[layer].bias = ((0.0, 0.1),)
  config.schedule.layer.fc8.kernel = ((0.0, 4.0),)  # begins afresh
  config.schedule.layer.fc8.bias = ((0.0, 4.0),)
  # Of so few validation images no plateau can be told: the rate falls once.
  config.plateau.enabled = False
  config.schedule.counts = 'fractions'
  config.schedule.kernel = config.schedule.bias = ((0.0, 1.0), (0.7, 0.1))
  config.checkpoint.every_epochs = 5
  config.log.every_steps = 5
  return config
