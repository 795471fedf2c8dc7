"""Error rates that the authors' notes of 2012 give, to six digits.

The files are those of computerhistory/AlexNet-Source-Code, each a net's rates
with the notes of its run. Ten views, where nothing else is said.
"""

from typing import NamedTuple


class Note(NamedTuple):
  """One run, with its errors as fractions."""

  run: str
  what: str
  data: str
  top1_error: float
  top5_error: float
  file: str  # '': not known


_VAL, _TEST = 'ILSVRC-2012 val', 'ILSVRC-2010 test'
NOTES = (
  Note(
    '145-2010', 'Table 1, CNN', _TEST, 0.374727, 0.169987,
    'layer-params-145-2010.cfg:177',
  ),
  Note(
    '145-2010', '§4.1, centre crop', _TEST, 0.390247, 0.182953,
    'layer-params-145-2010.cfg:179',
  ),
  Note(
    '145-half', '§3.2, one GPU', _TEST, 0.391680, 0.182287,
    'layer-params-145-half.cfg:90',
  ),
  Note(
    '145', 'Table 2, 1 CNN', _VAL, 0.406640, 0.182100,
    'layer-params-145.cfg:182',
  ),
  Note(
    '146-2012-2011', 'Table 2, 1 CNN*', _VAL, 0.389900, 0.166220,
    'layer-params-146-2012-2011.cfg:194',
  ),
  Note(
    '147', '§3.4, pooling without overlap', _VAL, 0.410580, 0.185100,
    'layer-params-147.cfg:165',
  ),
  Note(
    '148', '§3.3, no normalisation', _VAL, 0.420340, 0.193620,
    'layer-params-148.cfg:137',
  ),
  Note(
    '150', 'columns meet in fc8 alone', _VAL, 0.41828, 0.19330,
    '',
  ),
  Note(
    '170', 'rates lowered by a rule', _VAL, 0.405280, 0.180480,
    'layer-params-170.cfg:195',
  ),
)  # fmt: skip
