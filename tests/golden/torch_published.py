"""Published AlexNets in PyTorch, in float64, with the weights of drawn.py.

Run by `python -m tests.golden`. Writes caffe.npz, caffenet.npz, zoo.npz and
torchvision.npz, which tests/test_convert.py compares with: logits and two
layers. Imports nothing of alexnet_jax. Facts: models/bvlc_alexnet and
models/bvlc_reference_caffenet of BVLC/caffe (deploy.prototxt); torchvision/
models/alexnet.py of pytorch/vision.
"""

import pathlib

import drawn
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HERE = pathlib.Path(__file__).parent


def caffe(p, x, *, order, pool1_pads=None):
  """bvlc_alexnet or CaffeNet: sizes of maps round up, windows cross groups."""

  def conv(name, x, **options):
    return F.relu(
      F.conv2d(x, p[f'{name}/kernel'], p[f'{name}/bias'], **options)
    )

  def lrn(x):
    return F.local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=1.0)

  def pool(x):
    return F.max_pool2d(x, 3, stride=2, ceil_mode=True)

  def padded_pool(x):  # as ONNX has it
    return F.max_pool2d(F.pad(x, pool1_pads, value=-torch.inf), 3, stride=2)

  steps = {'lrn': lrn, 'pool': pool}
  first = steps | ({'pool': padded_pool} if pool1_pads else {})
  x = conv('conv1', x, stride=4)
  for step in order:
    x = first[step](x)
  x = conv('conv2', x, padding=2, groups=2)
  for step in order:
    x = steps[step](x)
  x = conv('conv3', x, padding=1)
  x = conv('conv4', x, padding=1, groups=2)
  x = conv('conv5', x, padding=1, groups=2)
  layers = {'conv5/pool': pool(x)}
  x = layers['conv5/pool'].flatten(1)  # C, H, W
  x = F.relu(F.linear(x, p['fc6/kernel'], p['fc6/bias']))
  x = layers['fc7/activation'] = F.relu(
    F.linear(x, p['fc7/kernel'], p['fc7/bias'])
  )
  return F.linear(x, p['fc8/kernel'], p['fc8/bias']), layers


class AlexNet(nn.Module):
  """The layers of torchvision's, by the names of its state dict."""

  def __init__(self):
    super().__init__()
    self.features = nn.Sequential(
      nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
      nn.ReLU(),
      nn.MaxPool2d(kernel_size=3, stride=2),
      nn.Conv2d(64, 192, kernel_size=5, padding=2),
      nn.ReLU(),
      nn.MaxPool2d(kernel_size=3, stride=2),
      nn.Conv2d(192, 384, kernel_size=3, padding=1),
      nn.ReLU(),
      nn.Conv2d(384, 256, kernel_size=3, padding=1),
      nn.ReLU(),
      nn.Conv2d(256, 256, kernel_size=3, padding=1),
      nn.ReLU(),
      nn.MaxPool2d(kernel_size=3, stride=2),
    )
    self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
    self.classifier = nn.Sequential(
      nn.Dropout(),
      nn.Linear(256 * 6 * 6, 4096),
      nn.ReLU(),
      nn.Dropout(),
      nn.Linear(4096, 4096),
      nn.ReLU(),
      nn.Linear(4096, 1000),
    )


def torchvision(p, x):
  net = AlexNet().double().eval()
  state = {
    name.replace('/kernel', '.weight').replace('/bias', '.bias'): tensor
    for name, tensor in p.items()
  }
  net.load_state_dict(state)
  maps = net.features(x)
  x = net.classifier[:6](torch.flatten(net.avgpool(maps), 1))
  return net.classifier[6](x), {'conv5/pool': maps, 'fc7/activation': x}


def to_torch(arrays):
  return {k: torch.from_numpy(a).double() for k, a in arrays.items()}


def centre(x, size):
  start = (256 - size) // 2
  return x[..., start : start + size, start : start + size]


def save(name, found):
  logits, layers = found
  layers['conv5/pool'] = layers['conv5/pool'][:, :: drawn.EVERY]
  arrays = {'logits': logits, **layers}
  arrays = {k: np.float32(a.numpy()) for k, a in arrays.items()}
  np.savez_compressed(HERE / f'{name}.npz', **arrays)
  print(f'{name}: logits to {np.abs(arrays["logits"]).max():.3f}')


@torch.no_grad()
def main():
  rgb = torch.from_numpy(drawn.images()).double().permute(0, 3, 1, 2)
  bgr = rgb.flip(1)
  own_mean = torch.from_numpy(drawn.mean_image()).double()
  pixel = torch.tensor([104.0, 117.0, 123.0]).double().reshape(3, 1, 1)
  p = to_torch(drawn.weights(drawn.CAFFE))
  x = centre(bgr - own_mean, 227)
  save('caffe', caffe(p, x, order=('lrn', 'pool')))
  zoo = centre(bgr - pixel, 224)
  pads = (0, 1, 0, 1)
  save('zoo', caffe(p, zoo, order=('lrn', 'pool'), pool1_pads=pads))
  tuned = {
    k: a[: drawn.TUNED_CLASSES] if 'fc8' in k else a for k, a in p.items()
  }
  save('caffenet', caffe(tuned, x, order=('pool', 'lrn')))
  del p, tuned
  p = to_torch(drawn.weights(drawn.TORCHVISION))
  mean, stddev = (
    torch.tensor(values).double().reshape(3, 1, 1)
    for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
  )
  save('torchvision', torchvision(p, centre((rgb / 255 - mean) / stddev, 224)))


if __name__ == '__main__':
  main()
