"""Figures of a run or an audit for scripts and notebooks: those of `report.html`, as matplotlib figures."""

import io
from collections.abc import Callable
from typing import Literal, get_args

from matplotlib.figure import Figure

from raybench.errors import UserError, unknown
from raybench.report.html import RunFrames, figures
from raybench.report.html.figures.style import PAPER, styled
from raybench.report.html.methods import searched_names
from raybench.report.html.uncertainty import half_widths

SampleValue = Literal["margin", "loss"]
RESOLUTION = 110  # pixels per inch in a notebook


class NotebookFigure(Figure):
    """A matplotlib figure that a notebook shows without `%matplotlib inline` and without pyplot."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=RESOLUTION)
        return stream.getvalue()


class Plots:
    """Figures of one run or audit; each method returns a matplotlib figure: `run.plot.memory().savefig("memory.pdf")`.

    The figures are those of `report.html`, in its light colors. They need no display and no pyplot; a notebook shows a
    figure that is the last expression of a cell. Raise UserError where the results lack the data of a figure.
    """

    def __init__(self, read: Callable[[], RunFrames], title: str) -> None:
        self._read, self._title = read, title

    def __dir__(self) -> list[str]:
        return sorted(name for name in vars(type(self)) if not name.startswith("_"))

    def __repr__(self) -> str:
        return f"figures of {self._title}: {', '.join(dir(self))}"

    def memory(self) -> Figure:
        """Plot the residual memory of each method with its bounds and the margin."""
        run = self._read()
        return self._shown(figures.memory(run.leaderboard, run.board.margin), "memory", "no method has one")

    def gaps(self, *columns: str) -> Figure:
        """Plot the signed gap of each method to the retrained models, with intervals and the noise floor.

        `columns`: titles of leaderboard columns such as "UA" or "MIA AUC"; by default the first four with a gap.
        """
        run = self._read()
        board, leaderboard = run.board, run.leaderboard
        known = {column.title: column for column in board.comparison.columns}
        for title in columns:
            if title not in known:
                raise unknown(f"column of {self._title}:", title, known)
        with_gap = [c for c in known.values() if leaderboard[f"{c.name}_gap"].notna().any()][:4]
        chosen = [known[title] for title in columns] if columns else with_gap
        figure = figures.gaps(
            leaderboard,
            run.metrics,
            chosen,
            setting=board.alpha,
        )
        return self._shown(figure, "gaps", "no method has a gap in these columns")

    def tradeoff(self) -> Figure:
        """Plot the mean forget gap against the mean utility gap and against cost, with the Pareto front."""
        run = self._read()
        errors = half_widths(run.metrics, run.board.comparison.columns, run.board.alpha)
        return self._shown(
            figures.tradeoff(run.leaderboard, errors), "tradeoff", "fewer than two models have a forget and utility gap"
        )

    def distributions(self, value: SampleValue = "margin") -> Figure:
        """Plot histograms of the margin or the loss of forget and unseen samples, one panel per method."""
        if value not in get_args(SampleValue):
            raise unknown("value", value, get_args(SampleValue))
        run = self._read()
        samples = run.samples
        figure = samples if samples is None else figures.distributions(run.leaderboard, run.models, samples, value)
        return self._shown(figure, "distributions", f"no method has a {value} per sample")

    def exposure(self) -> Figure:
        """Plot how exposed the forget samples are under each method: quantiles and the most exposed sample."""
        table = self._read().exposure
        figure = None if table is None else figures.exposure(table)
        return self._shown(figure, "exposure", "exposure needs an original and at least 3 retrained models")

    def coverage(self) -> Figure:
        """Plot the coverage of conformal prediction sets against 1 - alpha."""
        run = self._read()
        figure = figures.coverage(run.leaderboard, run.metrics)
        return self._shown(figure, "coverage", "the metric coverage was not measured")

    def transfer(self) -> Figure:
        """Plot the k-NN accuracy of the features on each downstream set."""
        run = self._read()
        figure = figures.transfer(run.leaderboard, run.metrics)
        return self._shown(figure, "transfer", "no downstream set was measured")

    def epsilon(self) -> Figure:
        """Plot the distribution of epsilon over the forget samples, one panel per population of models."""
        run = self._read()
        figure = None if run.samples is None else figures.epsilon(run.metrics, run.samples)
        return self._shown(figure, "epsilon", "there is no population of models")

    def search(self) -> Figure:
        """Plot the objective of each search trial in order, and the expected best of so many trials."""
        run = self._read()
        figure = figures.search(run.leaderboard, run.trials, run.search)
        return self._shown(figure, "search", "no hyperparameters were searched")

    def settings(self) -> Figure:
        """Plot the objective of the search trials against each searched hyperparameter."""
        run = self._read()
        figure = figures.settings(run.leaderboard, run.trials, searched_names(run.trials))
        return self._shown(figure, "settings", "no hyperparameters were searched")

    def training(self) -> Figure:
        """Plot retain, forget and validation accuracy by epoch, means over the reported runs of each method."""
        run = self._read()
        figure = figures.training(run.leaderboard, run.trials)
        return self._shown(figure, "training", "no reported run of a method was measured in more than one epoch")

    def reported(self) -> Figure:
        """Plot the results reported in the paper beside the measured ones."""
        table = self._read().reported
        figure = None if table is None else figures.reported(table)
        return self._shown(figure, "reported", "the experiment names no table of reported results (paper:)")

    @styled
    def _shown(self, figure: Figure | None, name: str, reason: str) -> Figure:
        """Return the figure on a white ground, or raise UserError with the reason why there is none."""
        if figure is None:
            raise UserError(f"{self._title} has no data for plot.{name}: {reason}")
        figure.set_facecolor(PAPER)
        figure.draw_without_rendering()  # makes the ticks, which would take their style from the user's settings
        figure.__class__ = NotebookFigure
        return figure
