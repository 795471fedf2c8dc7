"""Images with maps of why the net says what it says of them."""

import difflib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, UInt8

from alexnet_jax.evaluate import net as net_lib
from alexnet_jax.studies.explain import backward, cam, exciting, occlusion


class Explained(NamedTuple):
  """Images, what the net says of them, and four maps of why."""

  names: list[str]
  crops: UInt8[np.ndarray, 'n s s 3']  # what the net saw, RGB 0-255
  labels: Int[np.ndarray, 'n']  # the classes that are explained
  classes: list[str]  # their names
  probabilities: Float32[np.ndarray, 'n']  # of those classes, 0 to 1
  gradient: Float32[np.ndarray, 'n s s 3']  # of the class's score
  # How much each place of the last maps speaks for the class, 0 or more.
  grad_cam: Float32[np.ndarray, 'n h w']
  # None: the net has no ReLUs.
  guided: Float32[np.ndarray, 'n s s 3'] | None
  occluded: occlusion.Occluded | None  # None: places = 0

  @property
  def saliency(self) -> Float32[np.ndarray, 'n s s']:
    """The largest absolute gradient of the channels (Simonyan et al., §3)."""
    return np.abs(self.gradient).max(axis=-1)


def explain(
  net: net_lib.Net,
  given: net_lib.Input,
  *,
  label: str = '',
  places: int = 13,
  batch_size: int = 32,
) -> Explained:
  """Explains what a net says of the centre crops of images.

  All maps are held at once: 2 MB an image of 224 x 224 pixels.

  Args:
    given: files, folders of them, images of PIL, or uint8 arrays.
    label: the name of the class to explain; '': for each image the most
      probable.
    places: of the occluding square along each axis; 0: no occlusion, which
      takes places^2 times as long as a prediction.
    batch_size: occluded images that the net reads at once.

  Raises ValueError if an image cannot be read, or there is no such class.
  """
  if places < 0:
    raise ValueError(f'places = {places}: use 1 or more, or 0 for no occlusion')
  unit = _unit(net, label) if label else None
  names, squares = net.squares(given)
  x = net.preprocess(squares)
  said = net.predict(squares, views=1).probabilities
  labels = said.argmax(axis=1) if unit is None else np.full(len(x), unit)
  chosen = {'x': x, 'layer': 'fc8', 'units': labels[:, None]}
  relu = net.config.model.activation == 'relu'
  return Explained(
    names=names,
    crops=exciting.centre(net, squares),
    labels=labels,
    classes=[net.classes[i].name for i in labels],
    probabilities=said[np.arange(len(x)), labels],
    gradient=np.asarray(backward.of_units(net, **chosen).gradients),
    grad_cam=np.asarray(cam.grad_cam(net, x=x, labels=labels)),
    guided=np.asarray(backward.of_units(net, **chosen, rule='guided').gradients)
    if relu
    else None,
    occluded=occlusion.occlude(
      net, x=x, labels=labels, places=places, batch_size=batch_size
    )
    if places
    else None,
  )


def _unit(net: net_lib.Net, label: str) -> int:
  """The unit of fc8 of a class."""
  names = [c.name for c in net.classes]
  if label not in names:
    near = difflib.get_close_matches(label, names, n=3)
    raise ValueError(
      f'no class {label!r}: use {", ".join(near or names[:5])}'
      f'{"" if near or len(names) <= 5 else ", ..."} of this network'
    )
  return names.index(label)
