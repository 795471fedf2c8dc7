"""The peer of bench/jax_step.py: the same net and step in PyTorch.

  python torch_step.py '{"config": {...}, "dtype": "float32",
    "platform": "cpu", "form": {"layout": "channels_last", "mode": "eager",
    "lrn": "shifts", "memory": "returned"}}'

Needs PyTorch (torch_requirements.txt, in an environment of its own), imports
nothing of alexnet_jax, and talks as bench/workers.py says. A form is one way to
write the same function; the bench asks for each and keeps the fastest. Where
the two sides might differ this one has less to do: it takes a mean pixel off
the images, and neither mirrors nor colours them in training.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import sys
import time

import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

LAYOUTS = {
  'contiguous': torch.contiguous_format,
  'channels_last': torch.channels_last,
}


def by_torch(x, c, alpha):
  """PyTorch's own, of a column; it divides its alpha by n."""
  return F.local_response_norm(x, c['n'], c['n'] * alpha, c['beta'], c['k'])


def by_shifts(x, c, alpha):
  """The sum over neighbours as n slices of the squares."""
  channels, reach = x.shape[1], c['n'] // 2
  squares = F.pad(x * x, (0, 0, 0, 0, reach, reach))
  total = squares[:, :channels]
  for step in range(1, c['n']):
    total = total + squares[:, step : step + channels]
  return x * negative_power(c['k'] + alpha * total, c['beta'])


def by_cumsum(x, c, alpha):
  """The sum over neighbours as a difference of running sums."""
  channels, reach = x.shape[1], c['n'] // 2
  squares = F.pad(x * x, (0, 0, 0, 0, reach + 1, reach))
  sums = squares.cumsum(1)
  total = sums[:, c['n'] :] - sums[:, :channels]
  return x * negative_power(c['k'] + alpha * total, c['beta'])


def negative_power(d, beta):
  """d^-beta; 3/4 by square roots, which cost less than a power."""
  if beta == 0.75:
    root = d.rsqrt()
    return root * root.sqrt()
  return d**-beta


NORMS = {'torch': by_torch, 'shifts': by_shifts, 'cumsum': by_cumsum}


_OPTIONAL = ('conv6', 'fc7_bottleneck')  # layers that the peer has not


class Net(nn.Module):
  """The net of `config.model`, all columns on one device."""

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
    """The layers in order, by name."""
    model = self.model
    other = model['conv6'] or model['bottleneck'] or model['leave_out']
    if other or model['activation'] != 'relu':
      raise ValueError('the peer has the nets with ReLU and layers 1-5, 6-8')
    return [p for p in model['layer'].items() if p[0] not in _OPTIONAL]

  def add_conv(self, name, layer, channels, size):
    """Sizes round up: zeros at the bottom and right let the last window fit."""
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
      groups=self.model['columns'] if layer['sees'] == 'own' else 1,
    )
    size = 1 + (size + before + after - kernel) // stride
    pool = self.model['pool']
    for _ in range(layer['then'].count('pool')):
      size = 1 - (pool['size'] - size) // pool['stride']
    return size

  def forward(self, x):
    for name, layer in self.used():
      before, after, *_ = self.padding.get(name, (0, 0))
      if before != after:
        x = F.pad(x, self.padding[name])
      x = self.layers[name](x if name in self.padding else x.flatten(1))
      for op in layer['then']:
        x = self.then(op, x)
    return x

  def then(self, op, x):
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
    raise ValueError(f'the peer has no {op}')

  def normalise(self, x):
    """§3.3, each column its own channels."""
    c = self.model['lrn']
    alpha = c['alpha'] / c['n'] if c['alpha_of'] == 'mean' else c['alpha']
    parts = [self.norm(p, c, alpha) for p in x.chunk(self.model['columns'], 1)]
    return torch.cat(parts, 1).to(x.dtype)


class Bench:
  """A net on its device, in one form, with images that are drawn once."""

  def __init__(self, options):
    self.config, self.form = options['config'], options['form']
    self.device = device(options)
    self.layout = LAYOUTS[self.form['layout']]
    self.dtype = getattr(torch, options['dtype'])
    net = Net(self.config, self.form['lrn']).to(self.device)
    self.net = net.to(memory_format=self.layout)

  def images(self, number, side):
    """uint8 [B, 3, side, side]."""
    images = torch.randint(0, 256, (number, 3, side, side), dtype=torch.uint8)
    return images.to(self.device, memory_format=self.layout)

  def compiled(self, function):
    return (
      torch.compile(function) if self.form['mode'] == 'compile' else function
    )

  def autocast(self):
    if self.dtype == torch.float32:
      return contextlib.nullcontext()
    return torch.autocast(self.device.type, dtype=self.dtype)

  def training(self):
    """A function that takes a whole training step."""
    config = self.config
    number = config['batch_size']
    images = self.images(number, config['data']['crop_size'])
    labels = torch.randint(0, config['model']['num_classes'], (number,))
    labels = labels.to(self.device)
    rule = self.rule()

    @self.compiled
    def loss(images):
      with self.autocast():
        logits = self.net(images.float() - 120)
        return F.cross_entropy(logits.float(), labels)

    def once():
      rule.zero_grad(set_to_none=True)
      found = loss(images)
      found.backward()
      rule.step()
      return found.detach()

    return once, {'images': number}

  def rule(self):
    """§5's; biases do not decay."""
    optim = self.config['optim']
    biases = [p for p in self.net.parameters() if p.ndim == 1]
    kernels = [p for p in self.net.parameters() if p.ndim > 1]
    decay = optim['weight_decay']
    return torch.optim.SGD(
      [
        {'params': kernels, 'weight_decay': decay},
        {'params': biases, 'weight_decay': decay * optim['decay_biases']},
      ],
      lr=optim['learning_rate'],
      momentum=optim['momentum'],
      fused=True,
    )

  def ten_views(self):
    """A function that gives probabilities, the mean over ten views."""
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
    def once():
      total = 0
      for y, x in corners:
        view = images[:, :, y : y + crop, x : x + crop]
        total += probabilities(view) + probabilities(view.flip(3))
      return total / 10

    return once, {'images': number}


def product(options):
  """A function that multiplies what bench/jax_step.py does."""
  dtype, size = getattr(torch, options['dtype']), 4096
  a = torch.randn((size, size), device=device(options)).to(dtype)
  return lambda: a @ a, {'flop': 2 * size**3}


def device(options):
  return torch.device('cuda' if options['platform'] == 'gpu' else 'cpu')


def peak_memory(device):
  if device.type == 'cuda':
    return torch.cuda.max_memory_allocated()
  lines = pathlib.Path('/proc/self/status').read_text().splitlines()
  (line,) = (s for s in lines if s.startswith('VmHWM'))
  return int(line.split()[1]) * 1024


def timed(once, device, calls):
  """Seconds of one of that many goes."""
  start = time.perf_counter()
  for _ in range(calls):
    once()
  if device.type == 'cuda':
    torch.cuda.synchronize()
  return (time.perf_counter() - start) / calls


def keep_freed_memory():
  """What alexnet_jax/runtime/malloc.py does."""
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is not None:
    for option, value in ((-4, 0), (-1, -1), (-2, 256 << 20), (-8, 1)):
      mallopt(option, value)


def serve(works, device):
  """Answers what stdin asks for, as bench/workers.py says."""
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what torch prints is no answer
  threads = torch.get_num_threads()
  machine = {'version': torch.__version__, 'threads': threads}
  print(json.dumps(machine), file=answers, flush=True)
  built, usual = {}, {}
  for line in sys.stdin:
    request = json.loads(line)
    name = request['work']
    if name not in built:
      built[name] = works[name]()
      for _ in range(3):  # torch.compile may do so twice
        usual[name] = timed(built[name][0], device, 1)
    once, facts = built[name]
    calls = max(1, round(request['run'] / usual[name]))
    usual[name] = timed(once, device, calls)
    answer = {
      'seconds': usual[name],
      'calls': calls,
      'peak_memory_bytes': peak_memory(device),
    }
    print(json.dumps(answer | facts), file=answers, flush=True)


def set_up(options):
  """What holds for the whole process, before its first tensor."""
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
  bench = Bench(options)
  serve({'step': bench.training, 'eval': bench.ten_views}, bench.device)


if __name__ == '__main__':
  main()
