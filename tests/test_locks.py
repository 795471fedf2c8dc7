"""One process at a time in a folder."""

import threading
import time

import pytest

from alexnet_jax.runtime import locks


def _locked(folder):
  return locks.locked(folder, fix='give another --workdir')


def test_a_folder_is_made_and_held(tmp_path):
  with _locked(tmp_path / 'a' / 'w'):
    with pytest.raises(ValueError, match=r'in use by another.*give another'):
      with _locked(tmp_path / 'a' / 'w'):
        pass
  with _locked(tmp_path / 'a' / 'w'):
    pass


def test_a_file_is_no_folder(tmp_path):
  (tmp_path / 'w').write_text('')
  with pytest.raises(ValueError, match='is a file: give another --workdir'):
    with _locked(tmp_path / 'w'):
      pass


def test_one_that_waits_comes_after_the_other(tmp_path, capsys):
  order, held = [], threading.Event()

  def hold():
    with _locked(tmp_path):
      held.set()
      time.sleep(0.2)
      order.append('first')

  first = threading.Thread(target=hold)
  first.start()
  held.wait()
  with locks.locked(tmp_path, fix='', waits=True):
    order.append('second')
  first.join()
  assert order == ['first', 'second']
  assert 'in use by another run: waiting' in capsys.readouterr().out
