"""Error rates from the authors' notes of 2012, to six digits.

The files are those of computerhistory/AlexNet-Source-Code; each has the error
rates of a network and the notes of its run. Ten views unless it says otherwise.
"""

from typing import NamedTuple


class Note(NamedTuple):
  """The errors of one run, 0 to 1."""

  run: str  # its name in the files
  what: str  # the paper's table or section that it belongs to
  data: str  # data set and split
  top1_error: float  # over all images
  top5_error: float  # likewise
  line: int  # of its parameter file; 0 if the file is not known

  @property
  def file(self) -> str:
    """File and line that have the errors; '' if not known."""
    return f'layer-params-{self.run}.cfg:{self.line}' if self.line else ''


_VAL, _TEST = 'ILSVRC-2012 val', 'ILSVRC-2010 test'
NOTES = (
  Note('145-2010', 'Table 1, CNN', _TEST, 0.374727, 0.169987, 177),
  Note('145-2010', '§6, centre crop', _TEST, 0.390247, 0.182953, 179),
  Note('145-half', '§3.2, one GPU', _TEST, 0.391680, 0.182287, 90),
  Note('145', 'Table 2, 1 CNN', _VAL, 0.406640, 0.182100, 182),
  Note('146-2012-2011', 'Table 2, 1 CNN*', _VAL, 0.389900, 0.166220, 194),
  Note('147', '§3.4, pooling without overlap', _VAL, 0.410580, 0.185100, 165),
  Note('148', '§3.3, no normalisation', _VAL, 0.420340, 0.193620, 137),
  Note('150', 'columns meet in fc8 alone', _VAL, 0.41828, 0.19330, 179),
  Note('170', 'rates lowered by a rule', _VAL, 0.405280, 0.180480, 195),
)
