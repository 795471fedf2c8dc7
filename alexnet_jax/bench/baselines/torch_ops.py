"""The peer of bench/jax_ops.py: each operation of the net in PyTorch, eager.

  python torch_ops.py '{"config": {...}, "dtype": "float32", "platform": "cpu",
    "form": {"layout": "channels_last", "lrn": "torch", "memory": "returned"}}'

Needs what torch_step.py needs. Of the ways to write LRN the fastest answers.
"""

import functools
import json
import sys

import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
import torch_step  # pyright: ignore[reportMissingImports]


def operations(bench):
  """(name, functions that do the same, its input's shape, parameters)."""
  net, config = bench.net, bench.config
  side = config['data']['crop_size']
  x = torch.zeros((2, 3, side, side), device=bench.device)
  net.eval()
  for name, layer in net.used():
    function = functools.partial(apply, net, name)
    parameters = list(net.layers[name].parameters())
    yield name, [function], x.shape[1:], parameters
    x = function(x)
    for op in layer['then']:
      functions = [functools.partial(net.then, op)]
      if op == 'lrn':
        functions = [functools.partial(norm, net, n) for n in torch_step.NORMS]
      yield f'{name}/{op}', functions, x.shape[1:], []
      x = net.then(op, x)


def apply(net, name, x):
  """The layer without what follows it."""
  before, after, *_ = net.padding.get(name, (0, 0))
  if before != after:
    x = F.pad(x, net.padding[name])
  return net.layers[name](x if name in net.padding else x.flatten(1))


def norm(net, name, x):
  net.norm = torch_step.NORMS[name]
  return net.normalise(x)


def forward(bench, function, x, parameters):
  """A function that computes the operation."""
  del parameters

  @torch.no_grad()
  def once():
    with bench.autocast():
      return function(x)

  return once


def backward(bench, function, x, parameters):
  """A function that computes its gradients from what is kept."""
  wanted = [*parameters, *([x] if x.shape[1] != 3 else [])]  # but of images
  x.requires_grad_(len(wanted) > len(parameters))
  with bench.autocast():
    y = function(x)
  g = torch.randn_like(y)
  return lambda: torch.autograd.grad(y, wanted, g, retain_graph=True)


def work(bench, make, functions, shape, parameters):
  """The fastest of the functions."""

  def begun(function):
    shape_ = (bench.config['batch_size'], *shape)
    x = torch.randn(shape_, device=bench.device)
    if x.ndim == 4:
      x = x.contiguous(memory_format=bench.layout)
    kind = torch.float32 if make is backward else bench.dtype
    return make(bench, function, x.to(kind), parameters)

  def seconds(once):
    torch_step.timed(once, bench.device, 1)
    return torch_step.timed(once, bench.device, 2)

  onces = [begun(function) for function in functions]
  return (min(onces, key=seconds) if len(onces) > 1 else onces[0]), {}


def update(bench):
  """A step of the rule, gradients at hand."""
  for parameter in bench.net.parameters():
    parameter.grad = torch.ones_like(parameter)
  return bench.rule().step, {}


def main():
  options = json.loads(sys.argv[1])
  options['form']['mode'] = 'eager'
  torch_step.set_up(options)
  bench = torch_step.Bench(options)
  works = {
    f'{name} {make.__name__}': functools.partial(work, bench, make, *rest)
    for name, *rest in operations(bench)
    for make in (forward, backward)
  }
  works['update'] = functools.partial(update, bench)
  works['product'] = functools.partial(torch_step.product, options)
  torch_step.serve(works, bench.device)


if __name__ == '__main__':
  main()
