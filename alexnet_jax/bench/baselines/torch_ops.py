"""The counterpart of bench/jax_ops.py: each operation in PyTorch, eager.

  python torch_ops.py '{"config": {...}, "dtype": "float32", "platform": "cpu",
    "form": {"layout": "channels_last", "lrn": "torch", "memory": "returned"}}'

Has the requirements of torch_step.py. Of the ways to write LRN the fastest is
measured.
"""

import functools
import json
import sys

import torch  # pyright: ignore[reportMissingImports]
import torch_step  # pyright: ignore[reportMissingImports]


def operations(bench):
  """Yields (name, equivalent functions, shape of the input, parameters)."""
  net, side = bench.net, bench.config['data']['crop_size']
  x = torch.zeros((2, 3, side, side), device=bench.device)
  net.eval()
  for name, layer in net.used():
    function = functools.partial(net.apply_layer, name)
    parameters = list(net.layers[name].parameters())
    yield name, [function], x.shape[1:], parameters
    x = function(x)
    for op in layer['ops']:
      functions = [functools.partial(net.apply_op, op)]
      if op == 'lrn':
        norms = torch_step.NORMS.values()
        functions = [functools.partial(net.normalise, norm=n) for n in norms]
      yield f'{name}/{op}', functions, x.shape[1:], []
      x = net.apply_op(op, x)


def forward(bench, function, x, _):
  """A function that computes the operation."""

  @torch.no_grad()
  def call():
    with bench.autocast():
      return function(x)

  return call


def backward(bench, function, x, parameters):
  """A function that computes its gradients from saved residuals."""
  wanted = [*parameters, *([x] if x.shape[1] != 3 else [])]  # not of images
  x.requires_grad_(len(wanted) > len(parameters))
  with bench.autocast():
    y = function(x)
  g = torch.randn_like(y)
  return lambda: torch.autograd.grad(y, wanted, g, retain_graph=True)


def workload(bench, make, functions, shape, parameters):
  """The fastest of the functions: (function, facts)."""

  def prepared(function):
    shape_ = (bench.config['batch_size'], *shape)
    x = torch.randn(shape_, device=bench.device)
    if x.ndim == 4:
      x = x.contiguous(memory_format=bench.layout)
    kind = torch.float32 if make is backward else bench.dtype
    return make(bench, function, x.to(kind), parameters)

  def seconds(call):
    torch_step.timed(call, calls=1)
    return torch_step.timed(call, calls=2)

  calls = [prepared(function) for function in functions]
  return min(calls, key=seconds), {}


def update(bench):
  """A step of the optimizer on given gradients: (function, facts)."""
  for parameter in bench.net.parameters():
    parameter.grad = torch.ones_like(parameter)
  return bench.optimizer().step, {}


def main():
  options = json.loads(sys.argv[1])
  options['form']['mode'] = 'eager'
  torch_step.set_up(options)
  bench = torch_step.Benchmark(options)
  workloads = {
    f'{name} {make.__name__}': functools.partial(workload, bench, make, *rest)
    for name, *rest in operations(bench)
    for make in (forward, backward)
  }
  workloads['update'] = functools.partial(update, bench)
  workloads['product'] = functools.partial(torch_step.product, options)
  torch_step.answer(workloads)


if __name__ == '__main__':
  main()
