"""The short form of `python -m tests.faults`: some of each kind of fault.

Most runs are forked from a process that has imported what they need.
"""

import errno
import signal

import pytest

from tests.faults import injected, operations, runs


@pytest.fixture(scope='module')
def place(server, tmp_path_factory):
  """Where runs lie, and an undisturbed one."""
  folder = tmp_path_factory.mktemp('faults')
  return injected.Place(folder, seed=5, server=server)


def test_killed_at_random_moments_it_ends_the_same(place):
  injected.kills(place, times=2)


def test_stopped_at_random_moments_it_saves_and_ends_the_same(place):
  injected.signals(place, signal.SIGTERM, signal.SIGINT, times=2)


def test_a_damaged_file_is_found_and_its_step_set_aside(place):
  injected.damages(place, times=2)


def test_disks_that_fill_up_or_go(place):
  if not injected.can_mount():
    pytest.skip('mounting a small disk needs root on Linux')
  faults = (injected.fill, injected.take_away)
  injected.disks(place, times=1, faults=faults)


def test_a_disk_without_inodes_ends_the_run_within_seconds(place):
  if not injected.can_mount():
    pytest.skip('mounting a small disk needs root on Linux')
  injected.few_inodes(place, numbers=[12])


def test_a_run_that_removes_steps_all_the_time_can_be_read(
  server, command, tmp_path
):
  workdir, output = tmp_path / 'run', tmp_path / 'output'
  flags = (
    '--config.total_steps=100000',
    '--config.checkpoint.keep_newest=1',
    '--config.checkpoint.every_epochs=100000',
    '--config.eval.every_epochs=100000',
  )
  run = runs.Forked(server, workdir, *flags, output=output)
  try:
    runs.wait_for_deletion(workdir, run)
    main, tool = ('alexnet_jax.main', 'alexnet_jax.tools.checkpoint')
    second = command(main, f'--workdir={workdir}', *runs.CONFIG)
    assert second.returncode == 1 and 'is in use by' in second.stderr, second
    evaluation = (main, '--mode=eval', f'--restore={workdir}', runs.CONFIG[0])
    for reader in [evaluation, *[(tool, f'--dir={workdir}', '--verify')] * 3]:
      done = command(*reader)
      if done.returncode:  # each time too late: a line says so
        assert done.stderr.count('\n') == 1, done.stderr
        assert 'removes checkpoints faster' in done.stderr
  finally:
    run.send_signal(signal.SIGTERM)
  assert runs.finish(run)[0] == 75


def test_data_that_are_lost_are_told_of_and_nothing_else_is(place):
  injected.lost_data(place, times=1)


def test_damaged_data_are_told_of(place):
  injected.damaged_data(place, times=1)


# The first checkpoint of a short run is 2, its last 4; see operations.py.
_TWO, _FOUR = ('/checkpoints/2.orbax', '/checkpoints/4.orbax')
_IN_TURN = (  # phase, place, number there, errno, whether it stays
  ('start', '/.config.json.tmp$', 5),
  ('start', '/.metrics.jsonl.tmp$', 2, errno.ENOSPC),
  ('log', '/metrics.jsonl$', 3),  # half a line
  ('save', _TWO, 1, errno.ENOSPC),  # orbax waits for its folder
  ('save', _TWO, 60, errno.EIO, True),
  ('save', _TWO, 120),
  ('log', '/events', 3, errno.ENOSPC, True),
  # Stays, or the run may do without that file and leave nothing to delete.
  ('save', _FOUR, 90, errno.EMFILE, True),
  ('delete', '/checkpoints/deleted', 8),
)


def test_a_run_disturbed_at_one_file_operation_after_another(tmp_path):
  if operations.why_not():
    pytest.skip(operations.why_not())
  watched = operations.Watched(tmp_path)
  with watched.server:
    place = operations.Place(watched)
    chosen = [operations.Point(*fields) for fields in _IN_TURN]
    outcomes = place.disturb_in_turn(chosen)
  assert [o for o in outcomes if o.wrong or not o.operation] == []
