"""A page as one HTML file that needs no other file, no script and no network.

A page is a list of sections, and a section a list of blocks: a Table, a Figure
and so on. page.html.j2 turns them into HTML. It escapes all text, because the
names of classes and files may come from anyone, and its content security policy
lets a browser load nothing but the pictures inside.
"""

import pathlib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jinja2

_TEMPLATE = 'page.html.j2'


class Cell(NamedTuple):
  """What a table's cell holds, if it is more than plain text."""

  text: str | int
  second: str = ''  # on a line of its own, smaller
  where: str = ''  # after the text, smaller
  tag: str = ''  # HTML element around the text: 'code', 'strong' or 'span'
  kind: str = ''  # class of that element


Row = Sequence[Cell | str | int]


class Heading(NamedTuple):
  """A heading within a section."""

  text: str


class Text(NamedTuple):
  """A paragraph."""

  text: str
  kind: str = ''  # 'aside': explains; 'note': to know before believing the rest
  strong: str = ''  # its first words, in bold


class Missing(NamedTuple):
  """Why a part is not there, and the command that makes it."""

  text: str
  command: str = ''


class Bullets(NamedTuple):
  """A list of lines."""

  lines: Sequence[str]


class Facts(NamedTuple):
  """Names with their values, a line each."""

  pairs: Sequence[tuple[str, str]]


class Table(NamedTuple):
  """A table, which scrolls in a box of its own where it is too wide."""

  header: Sequence[str]
  rows: Sequence[Row] = ()
  numbers: str = ''  # 'n' in the place of each column that is aligned right
  kinds: Sequence[str] = ()  # a class per row; none if empty
  label: str = ''  # what the table shows, for screen readers
  folded: str = ''  # the title to click on, of a table that is folded away
  # Rows under headings of their own, in place of `rows`.
  groups: Mapping[str, Sequence[Row]] = types.MappingProxyType({})


class Figure(NamedTuple):
  """A picture for a light and one for a dark page, as data: addresses."""

  light: str
  dark: str
  form: str  # 'svg' or 'png'
  alt: str  # what it shows, for those who do not see it
  caption: str  # what to look at in it


Block = Heading | Text | Missing | Bullets | Facts | Table | Figure


class Section(NamedTuple):
  """A part of the page; #place leads to it."""

  place: str
  title: str
  blocks: Sequence[Block]


def render(
  sections: Iterable[Section],
  *,
  name: str,
  over: str,
  title: str,
  lead: str,
  key_figures: Iterable[tuple[str, str]] = (),
) -> str:
  """The whole page as HTML.

  Args:
    sections: in order.
    name: of the page, for the browser's window.
    over: a small line above the title.
    title: the page's heading.
    lead: the result in a sentence.
    key_figures: (what, how much), shown large.
  """
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_printable,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  environment.filters['type'] = lambda value: type(value).__name__
  return environment.get_template(_TEMPLATE).render(
    sections=list(sections),
    name=name,
    over=over,
    title=title,
    lead=lead,
    key_figures=list(key_figures),
  )


def _printable(value: Any) -> Any:
  """Replaces control characters and half surrogate pairs; keeps HTML as is."""
  if not isinstance(value, str) or hasattr(value, '__html__'):
    return value
  return ''.join(
    c if c.isprintable() or c in '\n\N{NO-BREAK SPACE}' else '\ufffd'
    for c in value
  )


def write(path: pathlib.Path, content: str | bytes) -> None:
  """Replaces a file as a whole: a reader finds the old one or the new one."""
  if isinstance(content, str):
    content = content.encode('utf-8', 'replace')
  path.parent.mkdir(parents=True, exist_ok=True)
  scratch = path.with_name(f'.{path.name}.tmp')
  try:
    scratch.write_bytes(content)
    scratch.replace(path)
  finally:
    scratch.unlink(missing_ok=True)
