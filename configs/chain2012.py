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


_CONV = ('conv1', 'conv2', 'conv3', 'conv4', 'conv5')


def _fall_2009(config: config_dict.ConfigDict) -> None:
  """layer-params-146-2009.cfg:181-189: conv1 to conv5 are those of run 145.

  "init epsw 0.001 on conv1-5, 0.01 on fc, conv6", "epoch 2.1600: set epsw to
  0.001 from 0.01 on fc, conv6".
  """
  config.init_layers = 'conv'
  config.model.num_classes = 10_184
  config.num_epochs = 7  # 6.6
  _pre_training(config, slow=_CONV, drop=1.16)


def _fall_2011(config: config_dict.ConfigDict) -> None:
  """layers-146-2011.cfg: all convolutional layers are those of the step before.

  The softmax has two halves, of 10,921 and 10,922 classes, each behind 1024
  linear units. Rates: layer-params-146-2011.cfg:205-211, "init epw 0.001 on
  conv layers, 0.01 on fc", "epoch 6: set epsw to 0.001 from 0.01".
  """
  config.init_layers = 'conv'
  config.model.num_classes = 21_843
  config.model.bottleneck = True
  config.num_epochs = 9  # 8.1
  _pre_training(config, slow=(*_CONV, 'conv6'), drop=5.0)


def _pre_training(
  config: config_dict.ConfigDict, *, slow: tuple[str, ...], drop: float
) -> None:
  """Sets the rates of a step of pre-training.

  Args:
    slow: layers whose kernels learn at 0.001 throughout; the others begin at
      0.01.
    drop: passes over the data after which the others learn at 0.001, too.
  """
  # Paper silent: the rates of pre-training (§6).
  # 2012: epsW is 0.001 in conv1 to conv5, on Fall 2011 also in conv6, and 0.01
  # in the others, which goes to 0.001 at epoch 2.16, on Fall 2011 at 6. epsB is
  # 0.02, but 0.002 in conv6, as the files of the end have it
  # (layer-params-146-2009.cfg:82-83, -2011.cfg:82-83).
  # Here: the same; epochs of the notes begin with 1, here with 0.
  rates, always = config.schedule, ((0.0, 1.0),)
  config.optim.learning_rate = 0.01
  rates.kernel = always
  rates.bias = ((0.0, 2.0),)
  for name, layer in rates.layer.items():
    layer.kernel = ((0.0, 0.1),) if name in slow else ((0.0, 1.0), (drop, 0.1))
    layer.bias = ((0.0, 0.1),) if name == 'conv6' else always


def _ilsvrc_2012(config: config_dict.ConfigDict) -> None:
  """layer-params-146-2012-2011.cfg:181-195: all but fc8 is pre-trained."""
  config.init_layers = 'all_but_fc8'
  config.num_epochs = 53  # "epoch 54: killed"
  config.augment.colour_epochs = 37
  config.optim.learning_rate = 0.001
  rates = config.schedule
  rates.kernel = ((0.0, 1.0), (21.0, 0.1), (41.0, 0.01))
  # Paper silent: the rates of fine-tuning (§6).
  # 2012: epsW is a tenth of the others' in conv1, a hundredth from epoch 5 and
  # 0 from epoch 7 on; in fc8 it is ten times theirs from minibatch 300 to epoch
  # 9. epsB is 0.02, in conv6 0.022, in conv1 0 once it is frozen (:3-131).
  # Here: the same, in fc8 from the first minibatch.
  rates.layer.conv1.kernel = ((0.0, 0.1), (4.0, 0.01), (6.0, 0.0))
  rates.layer.conv1.bias = ((0.0, 1.0), (6.0, 0.0))
  rates.layer.conv6.bias = ((0.0, 1.1),)
  rates.layer.fc8.kernel = ((0.0, 10.0), (8.0, 1.0))
  rates.bias = ((0.0, 20.0),)


_STEPS = {'2009': _fall_2009, '2011': _fall_2011, '2012': _ilsvrc_2012}
