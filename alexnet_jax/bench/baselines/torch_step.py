"""The counterpart of bench/jax_step.py: the same network and step in PyTorch.

  python torch_step.py '{"config": {...}, "dtype": "float32",
    "platform": "cpu", "form": {"layout": "channels_last", "mode": "eager",
    "lrn": "shifts", "memory": "returned"}}'

Needs requirements.txt in an environment of its own, imports nothing of
alexnet_jax, and speaks the protocol of bench/workers.py. A form is one way to
write the same function; pytorch.py tries them all and keeps the fastest. Where
the two programs differ this one does less: it subtracts a mean pixel, and
neither mirrors nor colours images in training.
"""

import contextlib
import ctypes
import json
import os
import sys
import time

import serve  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]


def by_torch(x, c, alpha):
  """LRN of one column by PyTorch's operation, which divides alpha by n."""
  return F.local_response_norm(x, c['n'], c['n'] * alpha, c['beta'], c['k'])


def by_shifts(x, c, alpha):
  """LRN of one column; the sum over neighbours is of n slices."""
  squares = padded_squares(x, c['n'] // 2, c['n'] // 2)
  total = squares[:, : x.shape[1]]
  for step in range(1, c['n']):
    total = total + squares[:, step : step + x.shape[1]]
  return x * negative_power(c['k'] + alpha * total, c['beta'])


def by_cumsum(x, c, alpha):
  """LRN of one column; the sum is a difference of cumulative sums."""
  sums = padded_squares(x, c['n'] // 2 + 1, c['n'] // 2).cumsum(1)
  total = sums[:, c['n'] :] - sums[:, : x.shape[1]]
  return x * negative_power(c['k'] + alpha * total, c['beta'])


def padded_squares(x, before, after):
  return F.pad(x * x, (0, 0, 0, 0, before, after))


def negative_power(d, beta):
  """d^-beta; for 3/4 by square roots, which cost less than a power."""
  if beta == 0.75:
    root = d.rsqrt()
    return root * root.sqrt()
  return d**-beta


NORMS = {'torch': by_torch, 'shifts': by_shifts, 'cumsum': by_cumsum}
_OPTIONAL = ('conv6', 'fc7_bottleneck')  # layers that Net lacks


class Net(nn.Module):
  """The network of `config.model`, all columns on one device."""

  def __init__(self, config, norm):
    super().__init__()
    self.model, self.norm = config['model'], NORMS[norm]
    self.layers = nn.ModuleDict()
    self.padding = {}
    channels, size = 3, config['data']['crop_size']
    for name, layer in self.used():
      if name.startswith('conv'):
        size = self.add_conv(name, layer, channels, size)
        channels = layer['kernels']
      else:
        inputs, size = channels * size * size, 1
        channels = layer['units']
        self.layers[name] = nn.Linear(inputs, channels)
    for name, layer in self.used():
      nn.init.normal_(self.layers[name].weight, std=layer['stddev'])
      nn.init.constant_(self.layers[name].bias, layer['bias'])

  def used(self):
    """(name, config) of the layers in order."""
    model = self.model
    other = model['conv6'] or model['bottleneck'] or model['skip_layers']
    if other or model['activation'] != 'relu':
      raise ValueError('PyTorch: use a net with ReLU and layers 1-5 and 6-8')
    return [p for p in model['layer'].items() if p[0] not in _OPTIONAL]

  def add_conv(self, name, layer, channels, size):
    """Adds a layer; its output size, rounded up by padding bottom and right."""
    kernel, stride = layer['size'], layer['stride']
    before = layer['padding']
    after = before + (kernel - size - 2 * before) % stride
    self.padding[name] = (before, after, before, after)
    self.layers[name] = nn.Conv2d(
      channels,
      layer['kernels'],
      kernel,
      stride=stride,
      padding=before if after == before else 0,
      groups=self.model['columns'] if layer['inputs'] == 'own_column' else 1,
    )
    size = 1 + (size + before + after - kernel) // stride
    pool = self.model['pool']
    for _ in range(layer['ops'].count('pool')):
      size = 1 - (pool['size'] - size) // pool['stride']
    return size

  def forward(self, x):
    for name, layer in self.used():
      x = self.apply_layer(name, x)
      for op in layer['ops']:
        x = self.apply_op(op, x)
    return x

  def apply_layer(self, name, x):
    before, after, *_ = self.padding.get(name, (0, 0))
    if before != after:
      x = F.pad(x, self.padding[name])
    return self.layers[name](x if name in self.padding else x.flatten(1))

  def apply_op(self, op, x):
    match op:
      case 'activation':
        return F.relu(x)
      case 'lrn':
        return self.normalise(x)
      case 'pool':
        pool = self.model['pool']
        return F.max_pool2d(x, pool['size'], pool['stride'], ceil_mode=True)
      case 'dropout' if self.training:  # §4.2: units are kept as they are
        rate = self.model['dropout_rate']
        return x * torch.empty_like(x).bernoulli_(1 - rate)
      case 'dropout':
        return x * (1 - self.model['dropout_rate'])
    raise ValueError(f'PyTorch: no operation {op}')

  def normalise(self, x, norm=None):
    """LRN (§3.3), each column over its own channels."""
    c, norm = self.model['lrn'], norm or self.norm
    alpha = c['alpha'] / c['n'] if c['alpha_of'] == 'mean' else c['alpha']
    parts = [norm(p, c, alpha) for p in x.chunk(self.model['columns'], 1)]
    return torch.cat(parts, 1).to(x.dtype)


class Benchmark:
  """The network in one form, and what a worker measures of it."""

  def __init__(self, options):
    self.config, self.form = options['config'], options['form']
    self.device = device(options)
    last = self.form['layout'] == 'channels_last'
    self.layout = torch.channels_last if last else torch.contiguous_format
    self.dtype = getattr(torch, options['dtype'])
    net = Net(self.config, self.form['lrn']).to(self.device)
    self.net = net.to(memory_format=self.layout)

  def images(self, number, side):
    """Random images, uint8 [B, 3, side, side]."""
    images = torch.randint(0, 256, (number, 3, side, side), dtype=torch.uint8)
    return images.to(self.device, memory_format=self.layout)

  def compiled(self, function):
    eager = self.form['mode'] == 'eager'
    return function if eager else torch.compile(function)

  def autocast(self):
    if self.dtype == torch.float32:
      return contextlib.nullcontext()
    return torch.autocast(self.device.type, dtype=self.dtype)

  def training(self):
    """A training step: (function, facts)."""
    config, optimizer = self.config, self.optimizer()
    number = config['batch_size']
    images = self.images(number, config['data']['crop_size'])
    labels = torch.randint(0, config['model']['num_classes'], (number,))
    labels = labels.to(self.device)

    @self.compiled
    def loss(images):
      with self.autocast():
        logits = self.net(images.float() - 120)
        return F.cross_entropy(logits.float(), labels)

    def call():
      optimizer.zero_grad(set_to_none=True)
      found = loss(images)
      found.backward()
      optimizer.step()
      return found.detach()

    return call, {'images': number}

  def optimizer(self):
    """The update rule of §5; biases do not decay."""
    optim = self.config['optim']
    biases = [p for p in self.net.parameters() if p.ndim == 1]
    kernels = [p for p in self.net.parameters() if p.ndim > 1]
    decay = optim['weight_decay']
    groups = [
      {'params': kernels, 'weight_decay': decay},
      {'params': biases, 'weight_decay': decay * optim['decay_biases']},
    ]
    settings = {'lr': optim['learning_rate'], 'momentum': optim['momentum']}
    return torch.optim.SGD(groups, **settings, fused=True)

  def ten_views(self):
    """Probabilities averaged over ten views: (function, facts)."""
    data, number = self.config['data'], self.config['eval']['batch_size']
    side, crop = data['image_size'], data['crop_size']
    images = self.images(number, side)
    room = side - crop
    corners = [(y, x) for y in (0, room) for x in (0, room)]
    corners.append((room // 2, room // 2))
    self.net.eval()

    @self.compiled
    def probabilities(view):
      with self.autocast():
        return self.net(view.float() - 120).float().softmax(1)

    @torch.inference_mode()
    def call():
      total = 0
      for y, x in corners:
        view = images[:, :, y : y + crop, x : x + crop]
        total += probabilities(view) + probabilities(view.flip(3))
      return total / 10

    return call, {'images': number}


def product(options):
  """The matrix product of bench/jax_step.py: (function, facts)."""
  dtype, size = getattr(torch, options['dtype']), 4096
  a = torch.randn((size, size), device=device(options)).to(dtype)
  return lambda: a @ a, {'flop': 2 * size**3}


def device(options):
  return torch.device('cuda' if options['platform'] == 'gpu' else 'cpu')


def timed(call, *, calls):
  """Seconds of a call, on average over so many."""
  start = time.perf_counter()
  for _ in range(calls):
    call()
  if torch.cuda.is_initialized():
    torch.cuda.synchronize()
  return (time.perf_counter() - start) / calls


def peak_memory():
  if torch.cuda.is_initialized():
    return torch.cuda.max_memory_allocated()
  return serve.host_peak_bytes()


def answer(workloads):
  """The main loop of a worker."""
  info = {'version': torch.__version__, 'threads': torch.get_num_threads()}
  serve.serve(workloads, info=info, timed=timed, peak_memory=peak_memory)


def keep_freed_memory():
  """Sets glibc to keep freed memory; nothing with other C libraries."""
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is not None:
    # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD and M_ARENA_MAX of <malloc.h>
    for option, value in ((-4, 0), (-1, -1), (-2, 256 << 20), (-8, 1)):
      mallopt(option, value)


def set_up(options):
  """Settings of the whole process, before its first tensor."""
  if options['form']['memory'] == 'kept':
    keep_freed_memory()
  gpu = options['platform'] == 'gpu'
  torch.set_num_threads(os.cpu_count() or 1)
  torch.set_flush_denormal(True)
  torch.set_float32_matmul_precision('high' if gpu else 'highest')
  torch.backends.cudnn.benchmark = True


def main():
  options = json.loads(sys.argv[1])
  set_up(options)
  bench = Benchmark(options)
  answer({'step': bench.training, 'eval': bench.ten_views})


if __name__ == '__main__':
  main()
