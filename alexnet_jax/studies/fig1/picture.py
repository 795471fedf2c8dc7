"""The files of Figure 1; without matplotlib there are none."""

import pathlib
from collections.abc import Sequence

from alexnet_jax.studies.fig1 import curves as curves_lib
from alexnet_jax.train import log


def write(
  results: Sequence[curves_lib.ActivationResult],
  *,
  folder: pathlib.Path,
  of: str,
) -> list[pathlib.Path]:
  """Writes FOLDER/fig1.png and fig1.svg; their paths.

  Args:
    results: of each activation.
    folder: for the files.
    of: the data set, for the axis.

  Raises:
    ImportError: if matplotlib is not installed.
  """
  from alexnet_jax.studies.figures import fig1, style

  curves = {one.activation: list(one.curves.values()) for one in results}
  with style.theme(dark=False):
    figure = fig1.figure(curves, of=of)
    figure.set_facecolor('white')  # no page lies behind it
    contents = {'fig1.png': style.png(figure), 'fig1.svg': style.svg(figure)}
  for name, content in contents.items():
    with log.write_errors(folder / name):
      (folder / name).write_bytes(content)
  return [folder / name for name in contents]
