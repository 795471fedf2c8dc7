"""Breaks smoke.py in every way that docs/operations.md says it survives.

  python -m tests.faults [--kills=20] [--terms=10] ... [--seed=0]

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

KINDS = {  # what is done, and how often if nothing else is said
  'kills': (injected.kills, 20),
  'terms': (injected.terms, 10),
  'interrupts': (injected.interrupts, 10),
  'flips': (injected.flips, 20),
  'disks': (injected.disks, 2),
  'lost_data': (injected.lost_data, 2),
}


def main():
  """Runs each kind as often as asked."""
  parser = argparse.ArgumentParser(description=__doc__)
  for kind, (_, times) in KINDS.items():
    parser.add_argument(f'--{kind}', type=int, default=times)
  parser.add_argument('--seed', type=int, default=0)
  args = vars(parser.parse_args())
  with tempfile.TemporaryDirectory() as folder:
    place = injected.Place(pathlib.Path(folder), seed=args['seed'])
    print('undisturbed:', *place.expected.digests.items(), flush=True)
    for kind, (inject, _) in KINDS.items():
      if args[kind]:
        print(f'{kind}: {inject(place, times=args[kind])}', flush=True)


if __name__ == '__main__':
  sys.exit(main())
