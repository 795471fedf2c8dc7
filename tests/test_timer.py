"""The clock, with time in the test's hand."""

from alexnet_jax.train import timer


def test_rates_of_a_stretch():
  now = iter([0.0, 1.0, 2.0, 4.0, 4.0]).__next__
  clock = timer.Clock(now)  # 0
  with clock.waiting():  # 1 to 2
    pass
  rates = clock.read(images=8)  # at 4, and begins again at 4
  assert rates == timer.Rates(images_per_second=2.0, input_wait_fraction=0.25)


def test_pauses_are_left_out():
  now = iter([0.0, 1.0, 8.0, 9.0, 9.0]).__next__
  clock = timer.Clock(now)  # 0
  with clock.paused():  # 1 to 8
    pass
  assert clock.read(images=8).images_per_second == 4.0  # 2 of 9 seconds


def test_restart_forgets_what_was_waited():
  now = iter([0.0, 0.0, 5.0, 5.0, 6.0, 6.0]).__next__
  clock = timer.Clock(now)
  with clock.waiting():
    pass
  clock.restart()
  assert clock.read(images=3) == (3.0, 0.0)
