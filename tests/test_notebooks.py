"""The lessons of docs/notebooks run, in their short form."""

import pytest

from tests import notebooks


def test_there_are_six_lessons():
  assert [path.name[:2] for path in notebooks.LESSONS] == [
    f'{number}_' for number in range(1, 7)
  ]


@pytest.mark.parametrize('path', notebooks.LESSONS, ids=lambda p: p.stem)
def test_a_lesson_runs(path, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('SHORT', '1')
  monkeypatch.setenv('ALEXNET_JAX_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setenv('PYTHONPATH', str(notebooks.ROOT))
  printed = notebooks.run(path)
  assert sum(map(bool, printed)) > len(printed) // 2


@pytest.mark.parametrize('path', notebooks.LESSONS, ids=lambda p: p.stem)
def test_a_lesson_has_its_form(path):
  text = path.read_text()
  cells = notebooks.CELL.findall(text)
  assert text.partition('\n# ')[2].split('\n\n')[1].startswith('You learn ')
  exercises = text.partition('## Exercises\n')[2]
  assert [f'{n}. ' in exercises for n in (1, 2, 3)] == [True] * 3
  hidden = [options for options, _, _ in cells if 'source_hidden' in options]
  assert len(hidden) == 3
  assert all(len(output) < 2500 for _, _, output in cells)
  assert any(output for _, _, output in cells), (
    'python -m tests.notebooks --write'
  )


def test_output_is_put_below_its_cell_and_renewed():
  text = 'A\n\n```python\nprint(1)\n```\n\nB\n\n```python x=1\npass\n```\n'
  once = notebooks.with_output(text, printed=['1\n', ''])
  assert once == text.replace('(1)\n```\n', '(1)\n```\n\n```text\n1\n```\n')
  again = notebooks.with_output(once, printed=['2\n', ''])
  assert again == once.replace('text\n1', 'text\n2')


def test_long_output_is_cut_in_the_middle():
  text = '```python\npass\n```\n'
  once = notebooks.with_output(text, printed=['\n'.join(map(str, range(40)))])
  first = ''.join(f'{n}\n' for n in range(16))
  assert once == text + f'\n```text\n{first}...\n39\n```\n'
