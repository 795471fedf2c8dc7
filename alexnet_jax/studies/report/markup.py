"""HTML that is escaped by construction (not in the paper).

Text becomes Markup through `tag` alone, which escapes whatever is not Markup
already: names of classes and files may come from anyone.

>>> tag('p', 'a < b, ', tag('b', 'said ', 5), kind='note')
'<p class="note">a &lt; b, <b>said 5</b></p>'
"""

import html
import itertools
from collections.abc import Iterable, Mapping, Sequence

_EMPTY = ('img', 'link', 'meta', 'source')  # have no end tag


class Markup(str):
  """Text that is HTML already."""


Child = str | int | Iterable['Child']


def tag(
  name: str, /, *children: Child, kind: str = '', **attributes: str
) -> Markup:
  """An element; `kind` is its class, _ in a name stands for -.

  Args:
    name: of the element.
    *children: text, Markup, or sequences of both.
    kind: the class attribute; left out if empty.
    **attributes: any others.
  """
  given = {'class': kind} if kind else {}
  given |= {key.replace('_', '-'): value for key, value in attributes.items()}
  text = ''.join(f' {key}="{html.escape(v)}"' for key, v in given.items())
  if name in _EMPTY:
    return Markup(f'<{name}{text}>')
  return Markup(f'<{name}{text}>{join(*children)}</{name}>')


def join(*children: Child) -> Markup:
  """Children one after another."""
  return Markup(''.join(map(_escaped, children)))


def _escaped(child: Child) -> str:
  if isinstance(child, Markup):
    return child
  if isinstance(child, str):
    return html.escape(''.join(c if _is_text(c) else '\ufffd' for c in child))
  if isinstance(child, int):
    return str(child)
  return join(*child)


def _is_text(c: str) -> bool:
  """Half of a surrogate pair, or a control character, is none."""
  return c.isprintable() or c in '\n\N{NO-BREAK SPACE}'


def paragraph(*children: Child, kind: str = '') -> Markup:
  return tag('p', *children, kind=kind)


def note(*children: Child) -> Markup:
  """What a reader must know before believing what stands beside it."""
  return tag('p', *children, kind='note')


def missing(what: str, *, make: str = '') -> Markup:
  """A part that is not there, and the command that makes it."""
  command = [tag('pre', tag('code', make))] if make else []
  return tag('div', tag('p', what), command, kind='missing')


def second(*children: Child) -> Markup:
  """A second line in a cell, smaller."""
  return tag('span', *children, kind='second')


def facts(pairs: Iterable[tuple[str, str]]) -> Markup:
  """Names and values, a line each."""
  lines = [tag('div', tag('dt', name), tag('dd', v)) for name, v in pairs]
  return tag('dl', lines) if lines else join()


def folded(title: str, *children: Child) -> Markup:
  """What is shown to those who ask for it."""
  return tag('details', tag('summary', title), *children)


def table(
  header: Sequence[Child],
  rows: Iterable[Sequence[Child]],
  *,
  numbers: str = '',
  kinds: Sequence[str] = (),
  label: str = '',
) -> Markup:
  """A table that scrolls inside its own box where it is too wide.

  Args:
    header: of the columns.
    rows: their cells.
    numbers: a letter for each column: 'n' for one of numbers, which stand
      right; text otherwise.
    kinds: a class for each row.
    label: what the table is of, for who cannot see where it stands.
  """
  body = [
    _line('td', row, numbers=numbers, kind=kind)
    for row, kind in itertools.zip_longest(rows, kinds, fillvalue='')
  ]
  return _boxed(_header(header, numbers), [tag('tbody', body)], label=label)


def grouped(
  header: Sequence[Child],
  groups: Mapping[str, Iterable[Sequence[Child]]],
  *,
  numbers: str = '',
) -> Markup:
  """A table whose rows stand below headings of their own."""
  bodies = []
  for title, rows in groups.items():
    heading = tag('th', title, colspan=str(len(header)), scope='rowgroup')
    lines = [_line('td', row, numbers=numbers) for row in rows]
    bodies.append(tag('tbody', tag('tr', heading, kind='group'), lines))
  return _boxed(_header(header, numbers), bodies)


def _header(cells: Sequence[Child], numbers: str) -> Markup:
  return _line('th', cells, numbers=numbers, scope='col')


def _line(
  name: str,
  cells: Sequence[Child],
  *,
  numbers: str,
  kind: str = '',
  **attributes: str,
) -> Markup:
  sides = itertools.zip_longest(cells, numbers, fillvalue=' ')
  made = [
    tag(name, cell, kind='number' if side == 'n' else '', **attributes)
    for cell, side in sides
  ]
  return tag('tr', made, kind=kind)


def _boxed(
  header: Markup, bodies: Sequence[Markup], *, label: str = ''
) -> Markup:
  """What takes the focus, to be scrolled by keys, has a role and a name."""
  whole = tag('table', tag('thead', header), bodies)
  named = {'role': 'region', 'aria_label': label} if label else {}
  return tag('div', whole, kind='scroll', tabindex='0', **named)
