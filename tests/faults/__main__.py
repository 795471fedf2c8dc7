"""Breaks smoke.py in every way that docs/operations.md says it survives.

  python -m tests.faults [--kills=20] [--terms=10] ... [--seed=0]
  python -m tests.faults --operations

Each kind begins with a fresh run and compares what is left in the end with a
run that nothing disturbed: metrics.jsonl line by line, but for the clock's
fields, and the digest of all arrays. As root on Linux, disks are filled and
taken away as well. --operations goes through the file operations of a run, as
operations.py says, and prints a table. tests/test_faults.py is a short form.
"""

import argparse
import pathlib
import sys
import tempfile

from tests.faults import injected, operations

KINDS = {  # what is done, and how often if nothing else is said
  'kills': (injected.kills, 20),
  'terms': (injected.terms, 10),
  'interrupts': (injected.interrupts, 10),
  'damages': (injected.damages, 20),
  'disks': (injected.disks, 2),
  'few_inodes': (injected.few_inodes, 1),
  'lost_data': (injected.lost_data, 2),
  'damaged_data': (injected.damaged_data, 20),
}


def main() -> int:
  """Runs each kind as often as asked."""
  parser = argparse.ArgumentParser(description=__doc__)
  for kind, (_, times) in KINDS.items():
    parser.add_argument(f'--{kind}', type=int, default=times)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument(
    '--operations',
    action='store_true',
    help='instead: 160 kills at file operations, and 80 operations that fail',
  )
  args = vars(parser.parse_args())
  if args['operations']:
    return _operations()
  with tempfile.TemporaryDirectory() as folder:
    place = injected.Place(pathlib.Path(folder), seed=args['seed'])
    print('undisturbed:', *place.expected.digests.items(), flush=True)
    for kind, (inject, _) in KINDS.items():
      if args[kind]:
        print(f'{kind}: {inject(place, times=args[kind])}', flush=True)
  return 0


def _operations() -> int:
  """Disturbs file operations one after another; 1 if anything was wrong."""
  if operations.why_not():
    print(f'not run: {operations.why_not()}')
    return 0
  with tempfile.TemporaryDirectory() as folder:
    found = operations.run_all(pathlib.Path(folder), kills=160, failures=80)
  print(operations.table(found))
  return int(any(outcome.wrong for outcome in found))


if __name__ == '__main__':
  sys.exit(main())
