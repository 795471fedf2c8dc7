"""A page as one HTML file that needs no other file, no script and no network.

The words and tables of a page are in a template with a macro for each section;
page.html.j2 is the frame of all pages. They escape all values, because the
names of classes and files may come from anyone, and the page's content security
policy lets a browser load nothing but the pictures inside.
"""

import functools
import pathlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import jinja2

from alexnet_jax.runtime import paths


class Section(NamedTuple):
  """A part of the page; #place leads to it."""

  place: str
  title: str
  html: str


def macros(template: str, **values: Any) -> Any:
  """The macros of a template in studies/, which see the values as globals."""
  return environment().get_template(template).make_module(values)


def render(
  sections: Iterable[Section],
  *,
  name: str,
  over: str,
  title: str,
  lead: str,
  key_figures: str = '',
) -> str:
  """The whole page as HTML.

  `name` is that of the browser's window, `over` a small line above the title,
  `lead` the result in a sentence. Key figures are facts that are shown large.
  """
  return (
    environment()
    .get_template('report/page.html.j2')
    .render(
      sections=sections,
      name=name,
      over=over,
      title=title,
      lead=lead,
      key_figures=key_figures,
    )
  )


@functools.cache
def environment() -> jinja2.Environment:
  """The jinja2 environment of all pages, with autoescape on."""
  made = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent.parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_printable,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  made.filters |= {'percent': percent, 'grouped': '{:,}'.format}
  return made


def percent(share: float | int | None) -> str:
  """A share of 0 to 1 in percent with one digit, as the paper has errors."""
  return '–' if share is None else f'{100 * share:.1f}\N{NO-BREAK SPACE}%'


def _printable(value: Any) -> Any:
  """Replaces control characters and half surrogate pairs; keeps HTML as is."""
  if not isinstance(value, str) or hasattr(value, '__html__'):
    return value
  if value.isprintable():  # such as a picture of a million letters
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
  with paths.replacing(path) as file:
    file.write(content)
