"""What the results of a run and of an audit have in common: leaderboard, verdict, and how they are shown."""

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from raybench.api.notebook import message_html, results_html
from raybench.errors import UserError
from raybench.report.leaderboard import Leaderboard
from raybench.report.render import as_rich
from raybench.report.verdict import verdict

if TYPE_CHECKING:  # plots import matplotlib, which takes half a second
    from raybench.api.plots import Plots
    from raybench.report.html import RunFrames

WIDTH = 110
NOTES = " (see the notes in report.md)"


class Results(ABC):
    """A leaderboard, its verdict, and a short text of both."""

    _notes: Sequence[str] = ()  # sentences about the data, after the verdict

    @property
    @abstractmethod
    def title(self) -> str:
        """Return one line that says what these are the results of."""

    @property
    @abstractmethod
    def board(self) -> Leaderboard:
        """Return the leaderboard as an object; raise UserError if there is none yet."""

    @abstractmethod
    def table(self, name: str) -> pa.Table:
        """Return one table by its name, for example "metrics"."""

    @abstractmethod
    def _frames(self) -> "RunFrames":
        """Return the tables that figures are drawn from."""

    @cached_property
    def plot(self) -> "Plots":
        """Figures: `plot.memory()`, `plot.gaps()`, ...; `dir(plot)` lists them."""
        from raybench.api.plots import Plots

        return Plots(self._frames, self.title)

    @cached_property
    def leaderboard(self) -> pd.DataFrame:
        """One row for the retrained models, one for the originals and one per method, best method first."""
        return self.board.to_table().to_pandas()

    @cached_property
    def verdict(self) -> list[str]:
        """Sentences: what each method left and damaged, what the evaluation can detect, and whether ranks hold."""
        return [line.replace(NOTES, "") for line in (*verdict(self.board), *self._notes)]

    def __repr__(self) -> str:
        """Return the leaderboard and the verdict as text."""
        try:
            table = self._shown()
        except UserError as error:
            return f"{self.title}\n{error}"
        text = io.StringIO()
        Console(file=text, width=WIDTH, color_system=None, force_jupyter=False).print(table)
        lines = [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]
        return "\n".join([self.title, *lines, *(f"- {line}" for line in self.verdict)])

    def _repr_html_(self) -> str:
        """Return the leaderboard and the verdict for a notebook."""
        try:
            table = self._shown()
        except UserError as error:
            return message_html(self.title, str(error))
        return results_html(self.title, table, self.verdict)

    def _shown(self) -> Table:
        table = as_rich(self.board, width=WIDTH)
        table.caption = None
        return table
