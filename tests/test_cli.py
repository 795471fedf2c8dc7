"""What every command does with flags and errors: one line, one exit code."""

import errno

import pytest
from absl import flags

from alexnet_jax import cli


def _raise(error):
  def main():
    raise error

  return main


@pytest.fixture(autouse=True)
def _parsed():
  flags.FLAGS(['program'])


@pytest.mark.parametrize(
  ('error', 'code', 'line'),
  [
    (ValueError('a\n  b'), 1, 'error: a b\n'),
    (
      FileNotFoundError(2, 'No such file', 'x'),
      1,
      "[Errno 2] No such file: 'x'",
    ),
    (OSError(errno.ENOSPC, 'No space left'), 1, 'No space left: make room'),
    (OSError(errno.EIO, 'I/O error', 'x'), 1, "'x': check the disk"),
    (OSError(errno.ENAMETOOLONG, 'Too long', 'x'), 1, 'give a shorter one'),
    (FileNotFoundError('of no number'), 1, 'error: of no number\n'),
    (MemoryError('9 TiB'), 1, '9 TiB: use a smaller --config.batch_size'),
    (RuntimeError('RESOURCE_EXHAUSTED: 9 TiB\nat x'), 1, '9 TiB: use a small'),
    (ValueError('\x1b[2J\u202eexe\udc80'), 1, r'\x1b[2J\u202eexe\udc80'),
    (KeyboardInterrupt(), 130, 'error: interrupted\n'),
  ],
)
def test_user_errors_are_one_line(capsys, error, code, line):
  assert cli.guard(_raise(error)) == code
  out, err = capsys.readouterr()
  assert (out, err.count('\n')) == ('', 1)
  assert err.startswith('error: ') and line in err


@pytest.mark.parametrize(
  'error', [RuntimeError('bug'), KeyError('bug'), OSError(errno.EBADF, 'bug')]
)
def test_bugs_keep_their_traceback(error):
  with pytest.raises(type(error)):
    cli.guard(_raise(error))


def test_traceback_on_request(monkeypatch):
  monkeypatch.setattr(flags.FLAGS['traceback'], 'value', True)
  with pytest.raises(ValueError, match='why'):
    cli.guard(_raise(ValueError('why')))


def test_exit_codes_of_main_pass_through():
  assert cli.guard(lambda: None) == 0
  assert cli.guard(lambda: 75) == 75


@pytest.mark.parametrize('argv', [['--nosuch=1'], ['stray'], ['--traceback=x']])
def test_bad_flags_are_one_line_and_exit_code_2(capsys, argv):
  with pytest.raises(SystemExit) as error:
    cli.parse(['program', *argv])
  assert error.value.code == 2
  err = capsys.readouterr().err
  assert err.startswith('error: ') and err.count('\n') == 1
