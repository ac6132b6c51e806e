"""What has to be computed of splits that are too large to be held: found by running each metric on a few samples.

A trace binds made-up logits and features, real labels and identities of some 256 samples of each split, and runs every
metric once. What it learns are the streamable functions that metrics call, with their settings, and the arrays that are
needed whole beside a streamed one (the calibration logits, the queries of a k-NN).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from raybench.metrics.framework.streaming import (
    Call,
    Named,
    Source,
    Streamed,
    WholeArrayNeeded,
    named,
    streamable,
)
from raybench.scoring.binding import (
    Models,
    compute_metric,
    get_metric,
    input_names,
    metric_spec,
    metrics_read,
    parse_input,
)

SAMPLES = 256  # of each split
WIDTH = 8  # of the made-up features
ARRAYS = ("logits", "features")
Array = tuple[str, str]  # (role, logits or features)


class Role(NamedTuple):
    """What a trace knows about a split: some of its ids and labels, and its size."""

    ids: np.ndarray
    labels: np.ndarray
    size: int

    @staticmethod
    def of(ids: np.ndarray, labels_of: Callable[[np.ndarray], np.ndarray]) -> "Role":
        """Return evenly spaced samples of a split."""
        chosen = ids[np.arange(min(len(ids), SAMPLES)) * len(ids) // max(1, min(len(ids), SAMPLES))]
        return Role(chosen, labels_of(chosen), len(ids))


class Refused(NamedTuple):
    """A metric that reads a streamed array as a whole."""

    metric: str
    split: str | None
    array: Array


@dataclass(frozen=True)
class Needs:
    """What the prediction pass computes of the streamed arrays, and which of them it keeps whole after all."""

    streamed: frozenset[Array]
    calls: tuple[Call, ...]
    refused: tuple[Refused, ...]


class _Sample:
    """Arrays of one model on a split, as `Models.read` returns them."""

    def __init__(self, trace: "Trace", model: str, name: str, role: Role) -> None:
        self.ids, self._trace, self._model, self._name, self._role = role.ids, trace, model, name, role
        self.labels = named(role.labels, Source(None, name, "labels"), model)

    @property
    def logits(self) -> Streamed | Named:
        return self._trace.array(self._model, self._name, "logits")

    @property
    def features(self) -> Streamed | Named:
        return self._trace.array(self._model, self._name, "features")


class Trace:
    """Runs metrics on made-up predictions and takes down what they ask of streamed arrays."""

    def __init__(self, roles: Mapping[str, Role], num_classes: int, streamed: frozenset[Array]) -> None:
        self.calls: dict[Call, None] = {}
        self.needed_whole: set[Array] = set()
        self._roles, self._num_classes, self._streamed = roles, num_classes, streamed
        self._made_up: dict[tuple[str, str, str], np.ndarray] = {}

    def read(self, model: str, role: str) -> _Sample:
        return _Sample(self, model, role, self._roles[role])

    def array(self, model: str, role: str, array: str) -> Streamed | Named:
        source = Source(None, role, array)
        if (role, array) in self._streamed:
            return Streamed(source, model, self._shape(role, array), self)
        return named(self._values(model, role, array), source, model)

    def _shape(self, role: str, array: str) -> tuple[int, int]:
        labels = self._roles[role].labels
        classes = labels.shape[1] if labels.ndim == 2 else self._num_classes
        return len(labels), classes if array == "logits" else WIDTH

    def _values(self, model: str, role: str, array: str) -> np.ndarray:
        key = (model, role, array)
        if key not in self._made_up:
            rng = np.random.default_rng(list("/".join(key).encode()))
            self._made_up[key] = rng.standard_normal(self._shape(role, array), dtype=np.float32)
        return self._made_up[key]

    def whole(self, array: Streamed) -> Named:
        """Take down that a streamed array has to be kept whole, and return made-up values."""
        self.needed_whole.add((array.source.role, array.source.array))
        values = self._values(array.model, array.source.role, array.source.array)
        return named(values if array.rows is None else values[array.rows], array.source, array.model)

    def value(self, call: Call, models: Mapping[str | None, str], given: Mapping[str, Any]) -> Any:
        """Take down a call, and compute it on made-up values."""
        self.calls[call] = None
        whole = {
            name: self._values(value.model, value.source.role, value.source.array)
            if isinstance(value, Streamed)
            else value
            for name, value in given.items()
        }
        spec = streamable(call.function)
        spec.merge.accumulator(spec.function, dict(call.settings))  # some settings cannot be streamed
        if spec.labels in whole:
            whole[spec.labels] = self._roles[call.role].labels
        return spec.function(**whole)


def needs(
    chosen: Mapping[str, Mapping[str, Any]],
    alphas: Sequence[float],
    roles: Mapping[str, Role],
    streamed: frozenset[Array],
    *,
    num_classes: int,
    groups: np.ndarray | None = None,
    class_names: tuple[str, ...] = (),
    downstream: tuple[str, ...] = (),
    others: Sequence[Callable[[Any], object]] = (),
) -> Needs:
    """Return what the metrics need of the streamed arrays.

    `others`: further readers of the predictions of one model, called with the same `read` as metrics (model, role).
    """
    read: dict[str, Mapping[str, Any]] = {other: {} for name in chosen for other in metrics_read(name)}
    while True:
        trace = Trace(roles, num_classes, streamed)
        models = Models(
            trace.read, "original", ("first", "second"), groups, num_classes, class_names, downstream, "untrained"
        )
        refused = []
        for name, settings in (*read.items(), *chosen.items()):
            for split in models.splits(metric_spec(get_metric(name))):
                if not reads(name, split, streamed):
                    continue
                for alpha in alphas if "alpha" in input_names(get_metric(name)) else (None,):
                    try:
                        compute_metric(name, settings, "model", split, alpha, models)
                    except WholeArrayNeeded as error:
                        source = error.source or next(s for s in _sources(name, split) if s in streamed)
                        array = (source.role, source.array) if isinstance(source, Source) else source
                        refused.append(Refused(name, split, array))
                        break
                    except ValueError:
                        continue  # not defined on made-up predictions; what it asks for comes first
        for other in others:
            with suppress(ValueError):
                other(trace.read)
        if not trace.needed_whole:
            return Needs(streamed, tuple(trace.calls), tuple(refused))
        streamed -= trace.needed_whole


def _sources(name: str, split: str | None) -> list[Array]:
    function = get_metric(name)
    parsed = (parse_input(argument, name, split=split or "") for argument in input_names(function))
    return [(source.split, source.array) for source in parsed if source.array in ARRAYS]


def reads(name: str, split: str | None, arrays: frozenset[Array]) -> bool:
    """Return whether a metric itself reads one of the arrays on that split."""
    return any(source in arrays for source in _sources(name, split))
