"""The figures of a report: functions from the tables of a run to matplotlib figures, one file per figure."""

from raybench.report.html.figures.coverage import coverage
from raybench.report.html.figures.distributions import distributions
from raybench.report.html.figures.epsilon import epsilon
from raybench.report.html.figures.exposure import exposure
from raybench.report.html.figures.gaps import gaps
from raybench.report.html.figures.memory import memory
from raybench.report.html.figures.reported import reported
from raybench.report.html.figures.search import search
from raybench.report.html.figures.settings import settings
from raybench.report.html.figures.tradeoff import tradeoff
from raybench.report.html.figures.training import training
from raybench.report.html.figures.transfer import transfer

__all__ = [
    "coverage",
    "distributions",
    "epsilon",
    "exposure",
    "gaps",
    "memory",
    "reported",
    "search",
    "settings",
    "tradeoff",
    "training",
    "transfer",
]
