r"""Pre-training and fine-tuning, as for the rows with an asterisk (§6).

  python -m alexnet_jax.main --config=configs/chain2012.py:2009 \
      --config.data.dir=FALL2009 --config.init_from=runs/source2012 \
      --workdir=runs/fall2009
  python -m alexnet_jax.main --config=configs/chain2012.py:2011 \
      --config.data.dir=FALL2011 --config.init_from=runs/fall2009 \
      --workdir=runs/fall2011
  python -m alexnet_jax.main --config=configs/chain2012.py:2012 \
      --config.data.dir=ILSVRC2012 --config.init_from=runs/fall2011 \
      --workdir=runs/chain2012

Each step is the net with the sixth convolutional layer and takes layers of the
step before it. The paper: 39.0 % top-1 and 16.6 % top-5 error on ILSVRC-2012's
validation set with ten views after the last step. Fall 2009 (10,184 classes) is
divided by tools.prepare --halves. Not yet run to the end here; tried on a few
drawn images.
"""

from ml_collections import config_dict

from alexnet_jax.configs import source2012


def get_config(step: str = '2012') -> config_dict.ConfigDict:
  """Step '2009', '2011' or '2012'; raises ValueError for another."""
  if step not in _STEPS:
    raise ValueError(f'step {step!r}: use {", ".join(_STEPS)}')
  config = source2012.get_config()
  config.model.conv6 = True
  config.init_from = 'REQUIRED'  # refused until it is given
  config.plateau.enabled = False
  _STEPS[step](config)
  return config


def _fall_2009(config: config_dict.ConfigDict) -> None:
  """layer-params-146-2009.cfg: conv1 to conv5 are those of run 145."""
  config.init_layers = 'conv'
  config.model.num_classes = 10_184
  config.num_epochs = 7  # 6.6
  _constant(config)


def _fall_2011(config: config_dict.ConfigDict) -> None:
  """layers-146-2011.cfg: all convolutional layers are those of the step before.

  The softmax has two halves, of 10,921 and 10,922 classes, each behind 1024
  linear units.
  """
  config.init_layers = 'conv'
  config.model.num_classes = 21_843
  config.model.bottleneck = True
  config.num_epochs = 9  # 8.1
  _constant(config)


def _ilsvrc_2012(config: config_dict.ConfigDict) -> None:
  """layer-params-146-2012-2011.cfg:181-195: all but fc8 is pre-trained."""
  config.init_layers = 'all_but_fc8'
  config.num_epochs = 53  # "stop" at 54
  config.augment.colour_epochs = 37
  config.optim.learning_rate = 0.001
  rates = config.schedule
  rates.kernel = ((0.0, 1.0), (21.0, 0.1), (41.0, 0.01))
  # Paper silent: the rates of fine-tuning (§6).
  # 2012: epsW is a tenth of the others' in conv1, which is frozen from epoch 7
  # on, and ten times theirs in fc8 from minibatch 300 to epoch 9; biases are
  # not named.
  # Here: the same, in fc8 from the first minibatch; biases of conv1 at twice
  # its kernels' rate, all others at twice 0.001 to the end (source2012.py).
  rates.layer.conv1.kernel = ((0.0, 0.1), (6.0, 0.0))
  rates.layer.conv1.bias = ((0.0, 0.1), (6.0, 0.0))
  rates.layer.fc8.kernel = ((0.0, 10.0), (8.0, 1.0))


def _constant(config: config_dict.ConfigDict) -> None:
  """One rate for all layers, twice that for biases, to the end."""
  # Paper silent: the rates of pre-training (§6).
  # 2012: not in the notes that were released.
  # Here: 0.01 throughout, as run 145 begins.
  always = ((0.0, 1.0),)
  config.schedule.kernel = always
  config.schedule.layer.conv1.kernel = always
  config.schedule.layer.conv1.bias = always


_STEPS = {'2009': _fall_2009, '2011': _fall_2011, '2012': _ilsvrc_2012}
