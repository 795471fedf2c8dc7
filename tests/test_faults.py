"""The short form of `python -m tests.faults`: some of each kind of fault.

Most runs are forked from a process that has imported what they need.
"""

import signal

import pytest

from tests.faults import injected


@pytest.fixture(scope='module')
def place(server, tmp_path_factory):
  """Where runs lie, and an undisturbed one."""
  folder = tmp_path_factory.mktemp('faults')
  return injected.Place(folder, seed=5, server=server)


def test_killed_at_random_moments_it_ends_the_same(place):
  injected.kills(place, times=2)


def test_stopped_at_random_moments_it_saves_and_ends_the_same(place):
  injected.signals(place, signal.SIGTERM, signal.SIGINT, times=2)


def test_a_flipped_bit_is_found_and_the_step_before_used(place):
  injected.flips(place, times=1)


def test_disks_that_fill_up_or_go(place):
  if not injected.can_mount():
    pytest.skip('mounting a small disk needs root on Linux')
  faults = (injected.fill, injected.take_away)
  injected.disks(place, times=1, faults=faults)


def test_data_that_are_lost_are_told_of_and_nothing_else_is(place):
  injected.lost_data(place, times=1)
