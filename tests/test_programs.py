"""Compiled programs that tests keep are whole."""

import os

from jax._src import compilation_cache

from tests import programs


def _entry(folder, name, content=b'program' * 1000):
  file = folder / f'{name}-cache'
  file.write_bytes(compilation_cache.compress_executable(content))
  return file


def test_halves_are_removed_and_the_rest_stays(tmp_path):
  whole, half, empty = (_entry(tmp_path, name) for name in 'abc')
  half.write_bytes(half.read_bytes()[:-5])
  empty.write_bytes(b'')
  programs.clean(tmp_path)
  assert [*tmp_path.glob('*-cache')] == [whole]
  later = _entry(tmp_path, 'later')
  later.write_bytes(later.read_bytes()[:10])
  programs.clean(tmp_path)
  assert [*tmp_path.glob('*-cache')] == [whole]


def test_what_was_measured_is_not_kept(tmp_path):
  (tmp_path / 'measured-0123456789abcdef.json').write_text(
    '{"1": 1.0, "2": 0.5}'
  )
  programs.clean(tmp_path)
  assert [file.name for file in tmp_path.iterdir()] == ['checked']


def test_too_many_are_all_removed(tmp_path):
  for name in 'ab':
    _entry(tmp_path, name, os.urandom(1000))
  programs.clean(tmp_path, most=10_000)
  assert len([*tmp_path.glob('*-cache')]) == 2
  programs.clean(tmp_path, most=1000)
  assert not [*tmp_path.iterdir()]


def test_the_folder_is_in_the_users_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  found = programs.folder()
  assert found.startswith(f'{tmp_path}/alexnet_jax-tests/')
  (tmp_path / 'file').touch()
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  assert programs.folder() == ''
