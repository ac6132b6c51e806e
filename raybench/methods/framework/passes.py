"""Seeded passes over the forget and the retain set: single, cycled, paired and mixed.

The order of the n-th pass over a set depends only on the seed of the run, the name of the set and n.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from raybench.data.reading.ahead import Pending, ahead_of, prepared, read, start
from raybench.data.reading.batches import DatasetSplit, ResidentSplit, Split, epoch_order, seed_for
from raybench.data.reading.stream import StreamedSplit
from raybench.errors import UserError
from raybench.methods.framework.spec import Settings

KNOWN = ResidentSplit | StreamedSplit  # splits that know whether they augment; a DatasetSplit does not
Role = Literal["forget", "retain", "calibration"]
Driver = Literal["retain", "forget", "shortest"]


class Batch(tuple[Tensor, Tensor]):
    """A pair (x, y) that also knows its rows in the set, so that teacher logits can be cached by row."""

    role: Role
    positions: np.ndarray
    repeatable: bool  # the same rows always give the same x

    @classmethod
    def of(cls, x: Tensor, y: Tensor, role: Role, positions: np.ndarray, *, repeatable: bool) -> "Batch":
        """Return the batch of the given rows of a set."""
        batch = cls((x, y))
        batch.role, batch.positions, batch.repeatable = role, positions, repeatable
        return batch


class Passes:
    """Data of an unlearning task: the sets, their labels, and seeded passes over them."""

    def __init__(
        self,
        *,
        forget: Split,
        retain: Split,
        calibration: Split | None,
        seed: int,
        settings: Settings,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.device = device
        self._splits: dict[str, Split | None] = {"forget": forget, "retain": retain, "calibration": calibration}
        self._labels = {role: split.labels.to(device) for role, split in self._splits.items() if split is not None}
        self._passes: dict[str, int] = {}
        self._cycles: dict[str, Iterator[Batch]] = {}

    def split(self, role: Role) -> Split:
        """Return the data of a role; only `calibration` can be missing."""
        split = self._splits[role]
        if split is None:
            raise UserError(f"this method needs {role} samples, but the run has none (pass a data set as `{role}=`)")
        return split

    @property
    def forget_labels(self) -> Tensor:
        """Labels of the forget samples by position, (N_f,) or (N_f, L); `forget(labels=...)` replaces them."""
        return self._labels["forget"]

    @property
    def retain_labels(self) -> Tensor:
        """Labels of the retain samples by position."""
        return self._labels["retain"]

    @property
    def multi_label(self) -> bool:
        """Whether labels are 0/1 vectors."""
        return self.forget_labels.ndim == 2

    @functools.cached_property
    def retained_classes(self) -> Tensor:
        """Classes of the retain set, sorted; single-label tasks only."""
        classes: Tensor = torch.unique(self.retain_labels)
        return classes

    def num_samples(self, role: Role) -> int:
        """Return the number of samples of a set."""
        return len(self.split(role))

    def num_batches(self, role: Role, *, batch_size: int | None = None) -> int:
        """Return the number of batches of one pass."""
        return -(-self.num_samples(role) // (batch_size or self.settings.batch_size))

    def forget(
        self, *, labels: Tensor | None = None, rows: np.ndarray | None = None, batch_size: int | None = None
    ) -> Iterator[Batch]:
        """Yield one shuffled pass over the forget set; `labels` (N_f, ...) replace the true labels by position."""
        batches = self._pass("forget", labels=labels, rows=rows, batch_size=batch_size)
        return filter(self._complete, batches) if self.settings.skip_incomplete else batches

    def retain(self, *, rows: np.ndarray | None = None, batch_size: int | None = None) -> Iterator[Batch]:
        """Yield one shuffled pass over the retain set, or over some rows of it."""
        return self._pass("retain", rows=rows, batch_size=batch_size)

    def calibration(self, *, batch_size: int | None = None) -> Iterator[Batch]:
        """Yield one pass over the calibration samples, which no method trains on."""
        return self._pass("calibration", batch_size=batch_size, augment=False)

    def cycled(self, role: Literal["forget", "retain"], *, batch_size: int | None = None) -> Iterator[Batch]:
        """Return an endless iterator over a set, reshuffled after every pass; later calls continue it."""
        key = f"{role} {batch_size}"
        if key not in self._cycles:
            rounds = (self._pass(role, batch_size=batch_size) for _ in itertools.count())
            self._cycles[key] = itertools.chain.from_iterable(rounds)
        return self._cycles[key]

    def paired(self, *, driver: Driver = "retain") -> Iterator[tuple[Batch, Batch]]:
        """Yield (retain batch, forget batch) pairs.

        `retain`: one retain pass, the forget set cycled; `forget`: one forget pass, the retain set cycled; `shortest`:
        until the shorter set ends. With `skip_incomplete` pairs with an incomplete batch are drawn but not yielded.
        """
        pairs: Iterator[tuple[Batch, Batch]]
        if driver == "retain":
            pairs = zip(self.retain(), self.cycled("forget"))
        elif driver == "forget":
            retain = self.cycled("retain")
            pairs = ((next(retain), batch) for batch in self._pass("forget"))
        else:
            pairs = zip(self.retain(), self._pass("forget"))
        if self.settings.skip_incomplete:
            return (pair for pair in pairs if self._complete(pair[0]) and self._complete(pair[1]))
        return pairs

    def num_pairs(self, driver: Driver) -> int:
        """Return the number of pairs that `paired` yields (without `skip_incomplete`)."""
        counts = {"retain": self.num_batches("retain"), "forget": self.num_batches("forget")}
        return counts.get(driver, min(counts.values()))

    def mixed(
        self, *, forget_labels: Tensor | None = None, retain_rows: np.ndarray | None = None
    ) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield one shuffled pass over both sets: x, y, and the number of retain rows, which come first."""
        available = np.arange(self.num_samples("retain")) if retain_rows is None else retain_rows
        orders, generator = self._orders("mixed", len(available) + self.num_samples("forget"), None, augment=True)

        def parts(rows: np.ndarray) -> list[tuple[Role, np.ndarray]]:
            both: list[tuple[Role, np.ndarray]] = [
                ("retain", available[rows[rows < len(available)]]),
                ("forget", rows[rows >= len(available)] - len(available)),
            ]
            return [(role, positions) for role, positions in both if positions.size]

        def begin(rows: np.ndarray) -> list[Pending]:
            return [start(self.split(role), positions, generator=generator) for role, positions in parts(rows)]

        for rows, pairs in prepared(orders, begin, ahead=ahead_of(self.split("retain"), self.split("forget"))):
            drawn = parts(rows)
            ys = [
                self._relabeled(y, positions, forget_labels if role == "forget" else None)
                for (role, positions), (_, y) in zip(drawn, pairs)
            ]
            num_retain = sum(len(positions) for role, positions in drawn if role == "retain")
            yield torch.cat([x for x, _ in pairs]), torch.cat(ys), num_retain

    def num_mixed(self) -> int:
        """Return the number of batches that `mixed` yields over both complete sets."""
        return -(-(self.num_samples("retain") + self.num_samples("forget")) // self.settings.batch_size)

    def _complete(self, batch: Batch) -> bool:
        return len(batch.positions) == min(self.settings.batch_size, self.num_samples(batch.role))

    def _pass(
        self,
        role: Role,
        *,
        labels: Tensor | None = None,
        rows: np.ndarray | None = None,
        batch_size: int | None = None,
        augment: bool = True,
    ) -> Iterator[Batch]:
        split, size = self.split(role), self.num_samples(role) if rows is None else len(rows)
        drawn, generator = self._orders(role, size, batch_size, augment=augment)
        repeatable = isinstance(split, KNOWN) and (generator is None or not split.augment)
        orders = drawn if rows is None else [rows[positions] for positions in drawn]
        for positions, (x, y) in zip(orders, read(split, orders, generator=generator)):
            yield Batch.of(x, self._relabeled(y, positions, labels), role, positions, repeatable=repeatable)

    def _orders(
        self, stream: str, size: int, batch_size: int | None, *, augment: bool
    ) -> tuple[list[np.ndarray], np.random.Generator | None]:
        """Return the rows of every batch of the next pass, and the generator of its augmentation."""
        number = self._passes[stream] = self._passes.get(stream, -1) + 1
        seed = seed_for("pass", self.seed, stream, number)
        order = epoch_order(size, seed=seed, epoch=0) if self.settings.shuffle else np.arange(size)
        generator = np.random.default_rng(seed) if augment and self.settings.train_augmentation else None
        step = batch_size or self.settings.batch_size
        return [order[first : first + step] for first in range(0, size, step)], generator

    @staticmethod
    def _relabeled(y: Tensor, positions: np.ndarray, labels: Tensor | None) -> Tensor:
        """Return y, or the rows of `labels` that replace it."""
        return y if labels is None else labels[torch.from_numpy(positions).to(labels.device)].to(y.device)


def as_split(data: Any, role: str, *, device: torch.device, dtype: torch.dtype) -> Split:
    """Return the data as a split on the model's device and in its dtype; raise UserError for an empty set."""
    split = data if isinstance(data, KNOWN | DatasetSplit) else DatasetSplit(data, device=device, dtype=dtype)
    if len(split) == 0:
        raise UserError(f"{role} is empty: an unlearning method needs at least one {role} sample")
    return split
