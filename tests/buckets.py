"""A fake bucket for tests, as the fsspec scheme fake://BUCKET/NAME.

Objects are files in $FAKE_BUCKETS/BUCKET, so other processes see them, but they
behave as on a bucket: they appear whole when closed, cannot be appended to or
renamed, need no folders, and listings are cached. A bucket with an object
`.denied` refuses everything.
"""

import io
import os
import pathlib

import fsspec
from fsspec.spec import AbstractFileSystem


class FakeBuckets(AbstractFileSystem):
  protocol = 'fake'
  root_marker = ''

  def _file(self, path):
    return pathlib.Path(os.environ['FAKE_BUCKETS'], self._strip_protocol(path))

  def _check(self, path):
    bucket = self._file(path.split('/')[0])
    if not bucket.is_dir():
      raise FileNotFoundError(f'The specified bucket does not exist: {path}')
    if (bucket / '.denied').exists():
      raise PermissionError('403 Forbidden')

  def ls(self, path, detail=True, **_):
    path = self._strip_protocol(path)
    self._check(path)
    if path not in self.dircache:
      folder = self._file(path)
      if not folder.exists():
        raise FileNotFoundError(path)
      listed = folder.iterdir() if folder.is_dir() else [folder]
      self.dircache[path] = [
        {
          'name': os.path.relpath(one, os.environ['FAKE_BUCKETS']),
          'size': one.stat().st_size,
          'type': 'directory' if one.is_dir() else 'file',
        }
        for one in listed
      ]
    found = self.dircache[path]
    return found if detail else [one['name'] for one in found]

  def invalidate_cache(self, path=None):
    self.dircache.clear()

  def mkdir(self, path, create_parents=True, **_):
    pass

  def makedirs(self, path, exist_ok=False):
    pass

  def _open(self, path, mode='rb', **_):
    self._check(path)
    if mode == 'rb':
      return open(self._file(path), 'rb')
    if mode != 'wb':
      raise NotImplementedError(f'objects are not opened with {mode}')
    return _Object(self._file(path))

  def rm_file(self, path):
    self._check(path)
    self._file(path).unlink()

  def cp_file(self, path1, path2, **_):
    raise NotImplementedError('a test does not need it')


class _Object(io.BytesIO):
  """An object that appears when it is closed."""

  def __init__(self, file):
    super().__init__()
    self._to = file

  def close(self):
    if not self.closed:
      self._to.parent.mkdir(parents=True, exist_ok=True)
      scratch = self._to.with_name(f'.{self._to.name}.{id(self)}')
      scratch.write_bytes(self.getvalue())
      scratch.rename(self._to)
    super().close()


def make(monkeypatch, tmp_path):
  """Makes buckets in tmp_path/buckets, and returns the folder of bucket b."""
  folder = tmp_path / 'buckets'
  (folder / 'b').mkdir(parents=True)
  monkeypatch.setenv('FAKE_BUCKETS', str(folder))
  monkeypatch.setenv('ALEXNET_JAX_CACHE', str(tmp_path / 'cache'))
  register()
  return folder / 'b'


def register():
  fsspec.register_implementation('fake', FakeBuckets, clobber=True)
