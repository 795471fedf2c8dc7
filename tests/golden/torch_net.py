"""A narrow AlexNet of both presets in PyTorch, from the paper and the program.

Run by `python -m tests.golden`. Writes what tests/test_golden.py compares with:
inputs.npz (weights, images, labels, drawn once for both) and paper.npz,
source2012.npz (logits, loss, gradients, in float64). Imports nothing of
alexnet_jax. Arrays are stored in its layout: kernels HWIO or [in, out], columns
as halves of the channels.
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent
# 130 pixels: 29.75 strides of 4, so the last window of conv1 reads 3 zeros.
CROP, IMAGES, CLASSES = 130, 3, 10
KERNELS = {  # name: (shape HWIO; I of one column where it sees only its own)
  'conv1': (11, 11, 3, 8),
  'conv2': (5, 5, 4, 16),
  'conv3': (3, 3, 16, 24),
  'conv4': (3, 3, 12, 24),
  'conv5': (3, 3, 12, 16),
  'fc6': (3 * 3 * 16, 32),
  'fc7': (32, 32),
  'fc8': (32, CLASSES),
}


def draw():
  """Weights that keep the signal up, images on the scale of 0-255 less 120."""
  rng = np.random.default_rng(2012)
  arrays = {}
  for name, shape in KERNELS.items():
    fan_in = np.prod(shape[:-1])
    arrays[f'{name}/kernel'] = rng.normal(size=shape) * np.sqrt(2 / fan_in)
    arrays[f'{name}/bias'] = rng.normal(size=shape[-1]) * 0.1
  arrays = {k: v.astype(np.float32) for k, v in arrays.items()}
  shape = (IMAGES, CROP, CROP, 3)
  arrays['images'] = rng.integers(0, 256, shape, dtype=np.uint8)
  arrays['labels'] = rng.integers(0, CLASSES, IMAGES)
  return arrays


def lrn(x, *, alpha):
  """§3.3 on each half of the channels; PyTorch divides its alpha by 5."""
  halves = [
    F.local_response_norm(half, size=5, alpha=5 * alpha, beta=0.75, k=2.0)
    for half in x.chunk(2, dim=1)
  ]
  return torch.cat(halves, dim=1)


def cnorm2(x):
  """The program's `rnorm`: 5 x 5 positions of the same map, k = 1."""
  mean = F.avg_pool2d(x * x, 5, stride=1, padding=2, count_include_pad=True)
  return x / (1 + 0.001 * mean) ** 0.75


def pool(x):
  return F.max_pool2d(x, 3, stride=2)


def forward(preset, p, images):
  """Logits at test time: dropout multiplies by a half (§4.2)."""

  def conv(name, x, **options):
    return F.conv2d(x, p[f'{name}/kernel'], p[f'{name}/bias'], **options)

  def dense(name, x):
    return x @ p[f'{name}/kernel'] + p[f'{name}/bias']

  x = images.double().permute(0, 3, 1, 2) - 120
  x = conv('conv1', F.pad(x, (0, 3, 0, 3)), stride=4)
  if preset == 'paper':
    x = pool(lrn(F.relu(x), alpha=1e-4))
    x = F.relu(conv('conv2', x, padding=2, groups=2))
    x = pool(lrn(x, alpha=1e-4))
  else:
    x = F.relu(pool(lrn(x, alpha=1e-4 / 5)))
    x = F.relu(conv('conv2', x, padding=2, groups=2))
    x = pool(cnorm2(lrn(x, alpha=1e-4 / 5)))
  x = F.relu(conv('conv3', x, padding=1))
  x = F.relu(conv('conv4', x, padding=1, groups=2))
  x = pool(F.relu(conv('conv5', x, padding=1, groups=2)))
  x = x.permute(0, 2, 3, 1).flatten(1)  # [B, 3 * 3 * 16], channels last
  x = 0.5 * F.relu(dense('fc6', x))
  x = 0.5 * F.relu(dense('fc7', x))
  return dense('fc8', x)


def to_torch(name, array):
  tensor = torch.from_numpy(array)
  if tensor.ndim == 4 and name.startswith('conv'):
    tensor = tensor.permute(3, 2, 0, 1)  # HWIO -> OIHW
  return tensor


def outputs(preset, arrays):
  """Logits, loss and gradients as arrays in the stored layout."""
  p = {
    name: to_torch(name, array).double().requires_grad_()
    for name, array in arrays.items()
    if '/' in name
  }
  logits = forward(preset, p, torch.from_numpy(arrays['images']))
  loss = F.cross_entropy(logits, torch.from_numpy(arrays['labels']))
  loss.backward()
  found = {'logits': logits.detach().numpy(), 'loss': loss.detach().numpy()}
  for name, tensor in p.items():
    grad = tensor.grad
    grad = grad.permute(2, 3, 1, 0) if grad.ndim == 4 else grad
    found[f'grad/{name}'] = grad.numpy()
  return {k: np.asarray(v, np.float32) for k, v in found.items()}


def main():
  arrays = draw()
  np.savez_compressed(HERE / 'inputs.npz', **arrays)
  for preset in ('paper', 'source2012'):
    found = outputs(preset, arrays)
    np.savez_compressed(HERE / f'{preset}.npz', **found)
    print(f'{preset}: loss {found["loss"]:.6f}')


if __name__ == '__main__':
  main()
