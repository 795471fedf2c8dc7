"""The paper on ImageNet: ILSVRC-2012, 90 epochs, minibatches of 128 (§5).

  python -m alexnet_jax.tools.prepare --source=ILSVRC2012 --output=DATA
  python -m alexnet_jax.main --config=configs/imagenet.py --config.data.dir=DATA

Two devices, one a column; --config.mesh.column=1 puts both on one. The paper:
five to six days on two GTX 580, 40.7 % top-1 and 18.2 % top-5 error on the
validation set with ten views. Not yet run to the end here.
"""

from ml_collections import config_dict

from alexnet_jax import paper
from alexnet_jax.configs import default


def get_config() -> config_dict.ConfigDict:
  """default.py without its sample fields."""
  config = default.get_config()
  config.data.source = 'prepared'
  config.batch_size = paper.BATCH_SIZE
  config.optim.learning_rate = paper.LEARNING_RATE
  config.total_steps = None  # num_epochs decides
  config.log.every_steps = default.log().every_steps
  return config
