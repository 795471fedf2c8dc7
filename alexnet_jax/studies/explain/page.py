"""Explanations as one page, OUTPUT/index.html, with the pictures beside it."""

import pathlib
import re
from collections.abc import Iterable
from typing import Any

from alexnet_jax.studies.explain import exciting, explained, views
from alexnet_jax.studies.report import page, pictures

PAGE = 'index.html'


def write_images(
  parts: Iterable[explained.Explained], *, folder: pathlib.Path
) -> pathlib.Path:
  """Writes a picture of each image and a page of all; returns its path.

  The parts are drawn one after the other, so not all maps are held at once.
  """
  album, drawn = pictures.Album(folder), []
  for found in parts:
    for number, name in enumerate(found.names):
      file = _file(name, number=len(drawn) + 1)
      rows = [row(found, number=number)]
      picture = album.picture(
        file, lambda rows=rows: {'rows': rows}, module='explained'
      )
      drawn.append((name, rows[0][0], picture))
  macros = page.macros('explain/page.html.j2', pictures=drawn)
  return _write(
    folder,
    page.Section('images', 'Images', macros.images()),
    title='Why the net says so',
    lead=f'{len(drawn)} image{"s" * (len(drawn) != 1)}, explained.',
  )


def row(
  found: explained.Explained, *, number: int
) -> tuple[str, dict[str, views.Picture]]:
  """The words and the panels of an image, for figures/explained.py."""
  share = page.percent(float(found.probabilities[number]))
  words = f'{found.classes[number]} {share}'
  return words, views.panels(found, number=number)


def write_unit(
  patches: list[exciting.Patch], *, unit_name: str, folder: pathlib.Path
) -> pathlib.Path:
  """Writes a picture of a unit's images and a page; returns its path."""
  picture = pictures.Album(folder).picture(
    _file(unit_name, number=0), lambda: _unit(patches), module='exciting'
  )
  macros = page.macros(
    'explain/page.html.j2',
    picture=picture,
    patches=patches,
    unit_name=unit_name,
  )
  return _write(
    folder,
    page.Section('unit', unit_name, macros.unit()),
    title='What excites a unit',
    lead=f'{unit_name} and the {len(patches)} images that excite it most.',
  )


def _unit(patches: list[exciting.Patch]) -> dict[str, Any]:
  """The arguments of figures/exciting.figure."""
  return {
    'crops': [one.crop for one in patches],
    'projections': [views.around_grey(one.projection) for one in patches],
    'fields': [(one.rows, one.columns) for one in patches],
    'names': [
      f'{one.value:#.3g}  {pathlib.Path(one.name).name}' for one in patches
    ],
  }


def _write(
  folder: pathlib.Path, section: page.Section, *, title: str, lead: str
) -> pathlib.Path:
  text = page.render(
    [section], name=title, over='explanations', title=title, lead=lead
  )
  page.write(folder / PAGE, text)
  return folder / PAGE


def _file(name: str, *, number: int) -> str:
  """A name for a file: letters and digits of the image's, and its number."""
  plain = re.sub(r'[^A-Za-z0-9]+', '-', pathlib.PurePath(name).stem).strip('-')
  if not number:
    plain = re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')
    return plain
  return f'{number:03d}-{plain[:60]}'.rstrip('-')
