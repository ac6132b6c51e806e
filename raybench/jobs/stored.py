"""Read what the prediction pass has stored: arrays of a split, or results for a split that was never held whole."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from raybench.jobs import keys
from raybench.jobs.large_splits import large_splits, num_pieces
from raybench.jobs.piece_files import defined, read_signal, read_states
from raybench.metrics.framework.streaming import (
    Call,
    Named,
    Source,
    State,
    Streamed,
    named,
    streamable,
)
from raybench.scenario.scenario import Scenario
from raybench.storage.predicted_arrays import matrix

CACHED_BYTES = 1_500_000_000  # of arrays that a worker keeps, since many metrics read the same ones


class ArrayCache:
    """Keeps the latest results up to a number of bytes."""

    def __init__(self, limit: int = CACHED_BYTES) -> None:
        self._limit, self._size = limit, 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, build: Callable[[], Any]) -> Any:
        """Return the result of `build`, or the one that is kept under the key."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key][0]
        value = build()
        self._values[key] = value, _num_bytes(value)
        self._size += self._values[key][1]
        while self._size > self._limit and len(self._values) > 1:
            self._size -= self._values.popitem(last=False)[1][1]
        return value


def _num_bytes(value: Any) -> int:
    if isinstance(value, tuple | list):
        return sum(map(_num_bytes, value))
    if isinstance(value, dict):
        return sum(map(_num_bytes, value.values()))
    return int(getattr(value, "nbytes", 64))


class StoredPredictions:
    """Reads predictions by (model key, role); one array at a time, of a large split only what is stored of it."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario, self._cache = scenario, ArrayCache()
        self._large = large_splits(scenario)
        self._statistics = StoredStatistics(scenario, self._cache)

    def read(self, model: str, role: str) -> "StoredSplit":
        """Return the predictions of a model on a split; arrays are read when they are used."""
        return StoredSplit(self, model, role)

    def ids(self, role: str) -> np.ndarray:
        return self._scenario.role_ids(role)

    def labels(self, model: str, role: str) -> np.ndarray:
        array: np.ndarray = self._cache.get(("labels", role), lambda: self._labels(model, role))
        return self._named(array, Source(None, role, "labels"), model)

    def array(self, model: str, role: str, array: str) -> Any:
        source = Source(None, role, array)
        if (role, array) in self._large.needs.streamed:
            width = self._scenario.data().num_classes if array == "logits" else 0
            if array == "logits" and (labels := self.labels(model, role)).ndim == 2:
                width = labels.shape[1]
            return Streamed(source, model, (len(self._scenario.role_ids(role)), width), self._statistics)
        values = self._cache.get((model, role, array), lambda: self._whole(model, role, array))
        return self._named(values, source, model)

    def _named(self, array: np.ndarray, source: Source, model: str) -> np.ndarray:
        return named(array, source, model) if self._large.needs.streamed else array

    def _labels(self, model: str, role: str) -> np.ndarray:
        scenario = self._scenario
        images = scenario.downstream[role].images(scenario.store) if role in scenario.downstream else scenario.data()
        labels: np.ndarray = images.labels[self.ids(role)]
        return labels

    def _whole(self, model: str, role: str, array: str) -> np.ndarray:
        scenario, store = self._scenario, self._scenario.store
        if not self._large.is_streamed(role):
            pieces = [
                store.read_table(key, columns=[array]) for *_, key in keys.predictions_keys(scenario, model, role)
            ]
            return matrix(pa.concat_tables(pieces)[array])
        files = keys.piece_keys(scenario, model, role, kept=self._large.kept(role))
        parts = [matrix(store.read_table(str(kept), columns=[array])[array]) for _, kept in files]
        whole = np.empty((sum(map(len, parts)), parts[0].shape[1]), parts[0].dtype)
        for piece, part in enumerate(parts):
            whole[piece :: len(parts)] = part
        return whole


class StoredSplit:
    """Predictions of one model on one split, with the attributes of `Predictions`."""

    def __init__(self, stored: StoredPredictions, model: str, role: str) -> None:
        self._stored, self._model, self._role = stored, model, role

    @property
    def ids(self) -> np.ndarray:
        return self._stored.ids(self._role)

    @property
    def labels(self) -> np.ndarray:
        return self._stored.labels(self._model, self._role)

    @property
    def logits(self) -> Any:
        return self._stored.array(self._model, self._role, "logits")

    @property
    def features(self) -> Any:
        return self._stored.array(self._model, self._role, "features")


class StoredStatistics:
    """Results for streamed arrays, merged from the stored pieces."""

    def __init__(self, scenario: Scenario, cache: ArrayCache) -> None:
        self._scenario, self._cache = scenario, cache
        self._large = large_splits(scenario)

    def whole(self, array: Streamed) -> Named:
        raise array.needed()

    def value(self, call: Call, models: Mapping[str | None, str], given: Mapping[str, Any]) -> Any:
        model, reference = str(models[None]), models.get(call.reference) if call.reference else None
        return self._cache.get((call, model, reference), lambda: self._merged(call, model, reference))

    def _merged(self, call: Call, model: str, reference: str | None) -> Any:
        store, role = self._scenario.store, call.role
        size = len(self._scenario.role_ids(role))
        number = num_pieces(size)
        rows = [np.arange(piece, size, number) for piece in range(number)]
        states: Sequence[State]
        if call.is_signal and "logits" not in self._large.kept(role):
            files = keys.piece_keys(self._scenario, model, role, kept=self._large.kept(role))
            name = call.function.__name__
            states = [{"0": read_signal(store, str(signals), name)} for signals, _ in files]
        else:
            group = next(group for group in self._large.groups(role) if call in group)
            paths = keys.statistics_keys(self._scenario, model, reference, role, group)
            position = group.index(call)
            if streamable(call.function).merge.memory(1):
                states = _States(lambda piece: read_states(store, paths[piece])[position], number)
            else:
                of_group = self._cache.get((group, model, reference), lambda: [read_states(store, p) for p in paths])
                states = [defined(of_piece[position]) for of_piece in of_group]
        return streamable(call.function).merge.result(states, rows, dict(call.settings))


class _States(Sequence[State]):
    """The states of all pieces, each read when it is used: together they may be larger than memory."""

    def __init__(self, read: Callable[[int], State], number: int) -> None:
        self._read, self._number = read, number

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, piece: Any) -> Any:
        return defined(self._read(piece))

    def __iter__(self) -> Iterator[State]:
        return map(self.__getitem__, range(self._number))
