r"""The network and the procedure as the authors ran them in 2012: run 145.

  python -m alexnet_jax.main --config=configs/source2012.py \
      --config.data.dir=DATA

imagenet.py follows the text; this follows the program that made the numbers,
released in 2025 (computerhistory/AlexNet-Source-Code: layers-145.cfg,
layer-params-145.cfg). docs/deviations.md lists the differences. The authors:
40.7 % top-1 and 18.2 % top-5 error on the validation set of ILSVRC-2012 with
ten views, 90 epochs. Not yet run to the end here.
"""

from ml_collections import config_dict

from alexnet_jax.configs import imagenet


def get_config() -> config_dict.ConfigDict:
  """imagenet.py with the values of the 2012 program."""
  config = imagenet.get_config()
  network(config.model)
  procedure(config)
  by_hand(config)
  return config


def network(model: config_dict.ConfigDict) -> None:
  """layers-145.cfg; sections of the file in the comments."""
  model.lrn.alpha_of = 'mean'
  layer = model.layer
  layer.conv1.ops = ('lrn', 'pool', 'activation')  # rnorm1, pool1
  layer.conv2.ops = ('activation', 'lrn', 'spatial_norm', 'pool')  # cnorm2
  layer.conv5.ops = ('pool', 'activation')  # pool3; the same, but cheaper
  for name in ('conv3', 'conv4', 'conv5'):
    layer[name].stddev = 0.03


def procedure(config: config_dict.ConfigDict) -> None:
  """convdata_jpeg.py, and what the notes say of the noise (run 145)."""
  config.data.mean_at = 'centre'
  config.data.reshuffle = False
  config.augment.images_per_draw = 32
  config.augment.colour_epochs = 66  # "epoch 67: set color noise to 0"
  config.augment.divide_by_colour = True
  # epsB .02, to the end in run 145; others drop it once: ((0, 2), (24, 0.2)).
  config.schedule.bias = ((0.0, 2.0),)


def by_hand(config: config_dict.ConfigDict) -> None:
  """The schedule in the notes of layer-params-145.cfg:169-182."""
  config.plateau.enabled = False
  # "epoch 25: set epsw to 0.001", 51: 0.0001, 79: 0.00001, 91: "killed"
  config.schedule.kernel = ((0.0, 1.0), (24.0, 0.1), (50.0, 0.01), (78.0, 1e-3))
  # Epoch 67: 0.00001 on conv1, 72: 0 on conv1, its biases with it.
  conv1 = config.schedule.layer.conv1
  conv1.kernel = ((0.0, 1.0), (66.0, 0.1), (71.0, 0.0))
  conv1.bias = ((0.0, 1.0), (71.0, 0.0))
