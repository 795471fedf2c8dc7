"""The programs of docs/python.md, as they stand there."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from tests import nets, saved

PAGE = pathlib.Path(__file__).parent.parent / 'docs' / 'python.md'
PROGRAMS = re.findall(
  r'## ([^\n]+)\n\n```python\n(.*?)```', PAGE.read_text(), re.S
)
LIMITS = {  # most lines that are not empty
  'Predict': 4,
  'Features': 5,
  'Gradients': 6,
  'One training step': 10,
  'Fine-tune': 15,
}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """A folder with the run, the photos and the class folders of the page."""
  folder = tmp_path_factory.mktemp('user')
  saved.checkpoint(folder / 'runs' / 'default', nets.config(), statistics=True)
  rng = np.random.default_rng(0)
  names = ['photo', 'photos/a', 'photos/b', 'pets/cat/1', 'pets/dog/1']
  for name in names:
    path = folder / f'{name}.jpg'
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
  return folder


def test_every_program_is_tried():
  assert [title for title, _ in PROGRAMS] == list(LIMITS)


@pytest.mark.parametrize(('title', 'program'), PROGRAMS, ids=list(LIMITS))
def test_a_program_runs_and_is_short(title, program, place, monkeypatch):
  monkeypatch.chdir(place)
  lines = [line for line in program.splitlines() if line]
  assert len(lines) <= LIMITS[title]
  found = {}
  exec(compile(program, f'{PAGE.name}: {title}', 'exec'), found)
  match title:
    case 'Predict':
      top = found['net'].predict('photo.jpg').top(5)
      assert len(top) == 1 and len(top[0]) == 5
    case 'Features':
      assert found['found']['conv5'].shape == (2, 3, 3, 32)
    case 'Gradients':
      assert found['saliency'].shape == found['x'].shape
      assert np.asarray(found['saliency']).any()
    case 'One training step':
      assert float(found['metrics']['loss']) == pytest.approx(np.log(10), 0.05)
      assert int(found['state'].step) == 1
    case 'Fine-tune':
      assert found['net'].classes[0].name == 'cat'
      assert (place / 'pets.safetensors').exists()
