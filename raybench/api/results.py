"""What the results of a run and of an audit have in common: leaderboard, verdict, and how they are shown."""

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import pandas as pd
from rich.console import Console
from rich.table import Table

from raybench.errors import UserError
from raybench.report.leaderboard import Leaderboard
from raybench.report.render import as_rich
from raybench.report.table import markdown_table
from raybench.report.verdict import verdict

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

    def _repr_markdown_(self) -> str:
        """Return the leaderboard and the verdict for a notebook."""
        try:
            table = self._shown()
        except UserError as error:
            return f"**{self.title}**\n\n{error}"
        head = [str(column.header) for column in table.columns]
        rows = [[str(cell) for cell in row] for row in zip(*(column.cells for column in table.columns))]
        parts = [f"**{self.title}**", markdown_table(head, rows), "\n".join(f"- {line}" for line in self.verdict)]
        return "\n\n".join(parts)

    def _shown(self) -> Table:
        table = as_rich(self.board, width=WIDTH)
        table.caption = None
        return table
