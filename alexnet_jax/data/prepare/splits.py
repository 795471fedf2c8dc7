"""Names of folders and files that stand for train, val or test."""

import functools
import re

_SPLITS = {
  'train': 'train',
  'training': 'train',
  'val': 'val',
  'valid': 'val',
  'validation': 'val',
  'test': 'test',
}
_ALSO = _SPLITS | {'testing': 'test', 'dev': 'val', 'eval': 'val'}
_ADDED = frozenset(  # words beside that of the split, as in train_images
  'set images image imgs img data part seg split folder shard raw photos jpg '
  'ilsvrc imagenet ds dir'.split()
)
ORDER = ('train', 'val', 'test')
_OF_LABELS = frozenset(('label annotation metadata solution').split())
_BESIDE = frozenset('loc list ground truth gt map cls file'.split())


def exact(name: str) -> str | None:
  """The split whose name a folder has.

  >>> [exact(name) for name in ('Training', 'valid', 'train_images')]
  ['train', 'val', None]
  """
  return _SPLITS.get(name.lower())


@functools.lru_cache(maxsize=4096)
def named(name: str) -> str | None:
  """The split that a folder's name tells, in words of other data sets too.

  >>> [named(n) for n in ('Training', 'seg_test', 'trainset-2', 'train_cat')]
  ['train', 'test', 'train', None]
  """
  words = [w for w in re.split(r'[^a-z]+', name.lower()) if w]
  words = [word.removesuffix('set') or word for word in words]
  found = {_ALSO[word] for word in words if word in _ALSO}
  known = all(word in _ALSO or word in _ADDED for word in words)
  return found.pop() if known and len(found) == 1 else None


def in_path(path: str) -> str | None:
  """The split that a word of a file's name tells, or else of its folder's.

  >>> in_path('data/imagenet-validation-00000-of-00014.parquet')
  'val'
  >>> in_path('train/000.tar'), in_path('trains.tar')
  ('train', None)
  """
  for part in reversed(path.lower().split('/')):
    for word in re.split(r'[^a-z]+', part):
      if word in _ALSO:
        return _ALSO[word]
  return None


def of_file(stem: str) -> str | None:
  """The split whose labels a file holds, '' for all, None if it holds none.

  >>> [of_file(n) for n in ('val', 'LOC_val_solution', 'labels', 'words')]
  ['val', 'val', '', None]
  """
  words = [w for w in re.split(r'[^a-z]+', stem.lower()) if w]
  words = [w if w in _ALSO else w.removesuffix('s') for w in words]
  found = {_ALSO[word] for word in words if word in _ALSO}
  rest = {word for word in words if word not in _ALSO}
  if len(found) > 1 or not rest <= _OF_LABELS | _BESIDE:
    return None
  return found.pop() if found else '' if rest & _OF_LABELS else None
