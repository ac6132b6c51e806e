"""TensorBoard curves, written while jobs run: directly to a local storage, through a copy to a remote one."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from raybench.storage.store import Store


class Board:
    """Writes the curves of one training or trial."""

    def __init__(self, folder: Path, store: Store, key: str, purge_step: int | None) -> None:
        self._folder, self._store, self._key = folder, store, key
        self._writer = SummaryWriter(str(folder), purge_step=purge_step, flush_secs=5)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each curve."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)
        if not self._store.is_local:
            self.publish()

    def hyperparameters(self, values: Mapping[str, Any], results: Mapping[str, float]) -> None:
        """Add the trial to the HParams tab, with its results."""
        plain = {k: v if isinstance(v, bool | str | float | int) else str(v) for k, v in values.items()}
        writer = self._writer.file_writer
        assert writer is not None
        for summary in hparams(plain, dict(results)):
            writer.add_summary(summary)
        for tag, value in results.items():
            self._writer.add_scalar(tag, value, 0)

    def publish(self) -> None:
        """Flush, and copy the event files to a remote storage."""
        self._writer.flush()
        if not self._store.is_local:
            for file in self._folder.iterdir():
                self._store.write_bytes(f"{self._key}/{file.name}", file.read_bytes())

    def close(self) -> None:
        self.publish()
        self._writer.close()


@contextmanager
def board(store: Store, key: str, *, purge_step: int | None = None) -> Iterator[Board]:
    """Open the curves at a key of the store.

    `purge_step`: the first step of a resumed training; TensorBoard then hides what the killed one wrote after it.
    """
    folder = Path(store.path(key)) if store.is_local else Path(tempfile.mkdtemp(prefix="rb-curves-"))
    curves = Board(folder, store, key, purge_step)
    try:
        yield curves
    finally:
        curves.close()
        if not store.is_local:
            shutil.rmtree(folder, ignore_errors=True)
