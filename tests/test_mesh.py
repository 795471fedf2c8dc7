"""The mesh, and what it says on a machine with too few devices."""

import jax
import pytest

from alexnet_jax.parallel import mesh


def test_axes_are_data_and_column():
  made = mesh.create(data=2, column=2)
  assert dict(made.shape) == {'data': 2, 'column': 2}
  assert len(set(made.devices.flat)) == 4


def test_takes_the_first_devices():
  assert list(mesh.create(data=1, column=2).devices.flat) == jax.devices()[:2]


@pytest.mark.parametrize(
  ('data', 'column', 'fix'),
  [
    (4, 2, 'use --config.mesh.data=2'),
    (1, 8, 'use --config.mesh.column=1, which puts'),
    (8, 8, 'use --config.mesh.column=1 --config.mesh.data=4'),
  ],
)
def test_too_few_devices_is_one_line_with_the_flags_that_fit(data, column, fix):
  with pytest.raises(ValueError) as error:
    mesh.create(data=data, column=column)
  text = str(error.value)
  assert fix in text and '4 (cpu)' in text and '\n' not in text


def test_one_gpu_is_told_to_hold_both_columns(monkeypatch):
  """The commonest mistake, on a machine that the tests do not have."""
  only = jax.devices()[:1]
  monkeypatch.setattr(jax, 'devices', lambda: only)
  with pytest.raises(ValueError, match=r'--config\.mesh\.column=1'):
    mesh.create(data=1, column=2)


@pytest.mark.parametrize(
  ('hosts', 'asked', 'made'), [(1, 2, 4), (1, 8, 8), (2, 2, 1), (2, 8, 4)]
)
def test_a_host_may_have_more_devices_if_it_is_alone(
  monkeypatch, hosts, asked, made
):
  """JAX_NUM_CPU_DEVICES asks for 4 in these tests."""
  found = {}
  monkeypatch.setattr(mesh.distributed, 'host_count', lambda: hosts)
  monkeypatch.setattr(jax.config, 'update', found.__setitem__)
  mesh.make_cpu_devices(asked)
  assert found == {'jax_num_cpu_devices': made}
