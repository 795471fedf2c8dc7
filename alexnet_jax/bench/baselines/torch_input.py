"""Images/s of torch's DataLoader on JPEGs in class folders, for bench/input.py.

  python torch_input.py FOLDER SECONDS WORKERS

Needs PyTorch, numpy and Pillow, and imports nothing of alexnet_jax. Does the
same as torchvision's ImageFolder, RandomCrop(224), RandomHorizontalFlip and
PILToTensor, so that torchvision need not be installed. Prints JSON.
"""

import itertools
import json
import os
import pathlib
import random
import sys
import time

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from PIL import Image

BATCH, CROP = 128, 224


class Folder(torch.utils.data.Dataset):
  """JPEGs in class folders, cropped and mirrored at random."""

  def __init__(self, folder):
    self.files = sorted(pathlib.Path(folder).glob('*/*.jpg'))

  def __len__(self):
    return len(self.files)

  def __getitem__(self, index):
    path = self.files[index]
    with open(path, 'rb') as file:
      image = Image.open(file).convert('RGB')
    y, x = (random.randint(0, side - CROP) for side in image.size[::-1])
    image = image.crop((x, y, x + CROP, y + CROP))
    if random.random() < 0.5:
      image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    array = torch.from_numpy(np.asarray(image).copy())
    return array.permute(2, 0, 1).contiguous(), int(path.parent.name)


def cpu():
  """CPU seconds of this process and of its workers that have ended."""
  return sum(os.times()[:4])


def main():
  folder, seconds, workers = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
  torch.set_num_threads(1)
  loader = torch.utils.data.DataLoader(
    Folder(folder),
    batch_size=BATCH,
    shuffle=True,
    num_workers=workers,
    drop_last=True,
    persistent_workers=True,
    prefetch_factor=4,
  )
  batches = itertools.chain.from_iterable(itertools.repeat(loader))
  count, seen, before = 0, 8 * BATCH, cpu()
  for _ in range(8):
    next(batches)
  start = time.perf_counter()
  while time.perf_counter() - start < seconds:
    count += len(next(batches)[1])
  rate = count / (time.perf_counter() - start)
  del batches, loader  # workers count once they have ended
  os.sched_yield()
  used = (cpu() - before) / (count + seen)
  print(json.dumps({'images_per_second': rate, 'cpu_us_per_image': used * 1e6}))


if __name__ == '__main__':
  main()
