"""Breaks smoke.py in every way that the README promises it survives.

  python -m tests.faults --kills=20 --terms=10 --flips=20 [--seed=0]

Each kind begins with a fresh run and compares what is left in the end with a
run that nothing disturbed: metrics.jsonl line by line, but for the clock's
fields, and the digest of all arrays. tests/test_faults.py is a short form. As
root on Linux, disks are filled and taken away as well.
"""

import argparse
import pathlib
import sys
import tempfile

from tests.faults import injected

KINDS = {
  'kills': injected.kills,
  'terms': injected.terms,
  'flips': injected.flips,
  'disks': injected.disks,
}


def main():
  """Runs each kind as often as asked."""
  parser = argparse.ArgumentParser(description=__doc__)
  for kind, times in (
    ('kills', 20),
    ('terms', 10),
    ('flips', 20),
    ('disks', 1),
  ):
    parser.add_argument(f'--{kind}', type=int, default=times)
  parser.add_argument('--seed', type=int, default=0)
  args = vars(parser.parse_args())
  with tempfile.TemporaryDirectory() as folder:
    place = injected.Place(pathlib.Path(folder), seed=args['seed'])
    print('undisturbed:', *place.expected.digests.items(), flush=True)
    for kind, inject in KINDS.items():
      if args[kind]:
        print(f'{kind}: {inject(place, times=args[kind])}', flush=True)


if __name__ == '__main__':
  sys.exit(main())
