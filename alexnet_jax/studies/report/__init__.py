"""A run as a page: WORKDIR/report/index.html, and several side by side.

The page is one file that needs no other and no network. What a run lacks is
named, with the command that makes it. Not in the paper.
"""

from alexnet_jax.studies.report.several import compare
from alexnet_jax.studies.report.single import write

__all__ = ['compare', 'write']
