r"""Caffe's bvlc_reference_caffenet: configs/bvlc.py, pooled before normalised.

  python -m alexnet_jax.tools.convert --output=runs/caffenet \
      --from=bvlc_reference_caffenet.caffemodel
  python -m alexnet_jax.main --config=configs/caffenet.py \
      --config.data.dir=DATA

Facts: models/bvlc_reference_caffenet of BVLC/caffe. Its authors: 57.4 % top-1
and 80.4 % top-5 accuracy with the centre crop on the validation set of
ILSVRC-2012. Not yet run here.
"""

from ml_collections import config_dict

from alexnet_jax.configs import bvlc


def get_config() -> config_dict.ConfigDict:
  """bvlc.py with pooling in front of normalisation, and biases of 1."""
  config = bvlc.get_config()
  bvlc.network(config.model, bias=1.0)
  for name in ('conv1', 'conv2'):
    config.model.layer[name].ops = ('activation', 'pool', 'lrn')
  return config
