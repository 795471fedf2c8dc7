"""The report of a run, WORKDIR/report/index.html, and pages of several runs.

A page is one file that needs no other and no network. Where a run lacks
something, the page gives the command that makes it.
"""

from alexnet_jax.studies.report.several import compare
from alexnet_jax.studies.report.single import write

__all__ = ['compare', 'write']
