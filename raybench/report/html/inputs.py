"""The tables of a run that the page is made from. A table that a run lacks is None, and so is its section."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from raybench.report.html.thumbnails import Pictures
from raybench.report.leaderboard import Leaderboard
from raybench.report.predicted_classes import predicted_classes
from raybench.report.stored import read_if_exists
from raybench.storage.store import Store

SPLITS = ["forget", "unseen"]  # that a figure shows
SAMPLES = ["model", "split", "id", "loss", "margin", "epsilon"]


@dataclass(frozen=True)
class RunFrames:
    """The leaderboard, the manifest and the tables of one run."""

    name: str
    board: Leaderboard
    manifest: Mapping[str, Any]
    metrics: pd.DataFrame
    models: pd.DataFrame
    trials: pd.DataFrame
    samples: pd.DataFrame | None = None
    exposure: pd.DataFrame | None = None
    search: pd.DataFrame | None = None
    reported: pd.DataFrame | None = None
    predicted: pd.DataFrame | None = None  # classes that models predict for the forget samples: method, id, predicted
    pictures: Pictures | None = None

    @property
    def leaderboard(self) -> pd.DataFrame:
        """Return `leaderboard.parquet`."""
        return self.board.to_table().to_pandas()


def read_frames(
    store: Store,
    name: str,
    board: Leaderboard,
    manifest: Mapping[str, Any],
    metrics: pd.DataFrame,
    models: pd.DataFrame,
    trials: pd.DataFrame,
    pictures: Pictures | None = None,
) -> RunFrames:
    """Read the tables that are needed beside those of the leaderboard."""

    def read(table: str) -> pd.DataFrame | None:
        content = read_if_exists(store, name, table)
        return None if content is None else content.to_pandas()

    samples = None
    if (content := read_if_exists(store, name, "samples")) is not None:
        content = content.select(SAMPLES)
        samples = content.filter(pc.is_in(content["split"], pa.array(SPLITS))).to_pandas()
    return RunFrames(
        name,
        board,
        manifest,
        metrics,
        models,
        trials,
        samples=samples,
        exposure=read("exposure"),
        search=read("search"),
        reported=read("reported"),
        predicted=predicted_classes(store, name, models),
        pictures=pictures,
    )
