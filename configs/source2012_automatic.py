r"""source2012.py with an automatic schedule: run 170.

  python -m alexnet_jax.main --config=configs/source2012_automatic.py \
      --config.data.dir=DATA

Four equal parts of 95 epochs, each with a lower rate (lr.cu:132-151,
layer-params-170.cfg). There: 40.5 % top-1 and 18.0 % top-5 error on the
validation set of ILSVRC-2012 with ten views. Not yet run to the end here.
"""

from ml_collections import config_dict

from alexnet_jax.configs import source2012


def get_config() -> config_dict.ConfigDict:
  """source2012.py with other tables."""
  config = source2012.get_config()
  config.num_epochs = 95
  # "epoch 68: set color noise to 0": epochs, where the tables count fractions.
  config.augment.colour_epochs = 67
  schedule = config.schedule
  schedule.counts = 'fractions'
  schedule.kernel = equal_parts(4, total=1 / 250)  # .01 to .00004
  doubled = equal_parts(2, total=1 / 10)  # .02, then .002
  schedule.bias = tuple((when, 2 * factor) for when, factor in doubled)
  frozen = ((0.0, 1.0), (73 / 95, 0.0))  # "epoch 74: set conv1 epsw to 0"
  schedule.layer.conv1.kernel = schedule.layer.conv1.bias = frozen
  return config


def equal_parts(
  number: int, *, total: float
) -> tuple[tuple[float, float], ...]:
  """A table that falls from 1 to `total` by one factor between equal parts."""
  step = total ** (1 / (number - 1))
  return tuple((part / number, step**part) for part in range(number))
