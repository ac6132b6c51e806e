"""Functions of arrays that may be too large to be held: computed piece by piece, merged, and read back by name.

A metric receives a `Streamed` object in place of the logits or the features of a split that is never held whole. It can
do two things with it: pass it to a function decorated with `row_wise` or `mergeable`, and select rows of it (`take`).

    @row_wise
    def top_probability(logits): ...          # (N, C) -> (N,)

    @metric(splits=("retain", "forget"), ...)
    def mean_top_probability(logits) -> Estimate:
        return bounded_mean(top_probability(logits), high=1.0)

The same code then works on an array and on 100 million samples: the prediction pass calls `top_probability` on each
block of samples while it is in memory, and the metric reads the result of all blocks. To find out which functions a
metric calls, raybench runs it once on made-up predictions of a few samples (`Trace`).
"""

import functools
import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])
Rows = np.ndarray  # positions in a split, int64
State = dict[str, np.ndarray]  # what one piece contributes; it is stored without pickle
ATTRIBUTE = "raybench_streamable"


class WholeArrayNeeded(ValueError):
    """A function reads an array of a split that is not held whole."""

    def __init__(self, message: str, source: "Source | None" = None) -> None:
        super().__init__(message)
        self.source = source


class Source(NamedTuple):
    """Where an array comes from."""

    reference: str | None  # original, retrained, shadow, untrained; None: the model that is scored
    role: str
    array: str  # logits, features, labels


class Positions(NamedTuple):
    """Which rows of a split a block holds; passed to a function with a parameter `positions`."""

    rows: Rows
    total: int


class Accumulator(Protocol):
    """Collects what one piece contributes to a function's result, block by block."""

    def update(self, arrays: Mapping[str, Any], positions: Positions) -> None:
        """Add a block: the arrays of the function's parameters."""

    def state(self) -> State:
        """Return what the piece contributes, as arrays."""


class Merge(Protocol):
    """How the results of pieces become the result of the whole."""

    def accumulator(self, function: Callable[..., Any], settings: Mapping[str, Any]) -> Accumulator:
        """Return an empty accumulator."""

    def result(self, states: Sequence[State], pieces: Sequence[Rows], settings: Mapping[str, Any]) -> Any:
        """Return what the function returns for the whole split; `pieces` are the rows of each state."""

    def select(self, result: Any, rows: Rows) -> Any:
        """Return the result for some rows of the split; raise WholeArrayNeeded where it does not follow from all."""

    def memory(self, width: int) -> int:
        """Return the bytes that an accumulator holds for features of this width, apart from results per sample."""

    def stored(self, width: int, rows: int, pieces: int, whole: int, settings: Mapping[str, Any]) -> int:
        """Return about how many bytes the states of all pieces take; `whole`: rows of the largest array read whole."""


@dataclass(frozen=True)
class Streamable:
    """What a decorator knows about a function: how it merges, and what it reads beside the streamed arrays."""

    function: Callable[..., Any]
    merge: Merge
    whole: tuple[str, ...]  # parameters whose arrays are held whole while blocks stream past
    labels: str  # parameter that takes the labels of the streamed split
    always: bool  # computed for every large split, whether or not a metric asks: one column of the signals


class Call(NamedTuple):
    """A use of a streamable function, whatever the model: with its streamed and whole arrays, and its settings."""

    function: Callable[..., Any]
    streamed: tuple[tuple[str, Source], ...]
    whole: tuple[tuple[str, Source], ...] = ()
    settings: tuple[tuple[str, Hashable], ...] = ()

    @property
    def role(self) -> str:
        return self.streamed[0][1].role

    @property
    def reference(self) -> str | None:
        """Return the reference model that the scored model is compared with, if it is."""
        return next((s.reference for _, s in (*self.streamed, *self.whole) if s.reference is not None), None)

    @property
    def name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def is_signal(self) -> bool:
        """Return whether the call is one of the columns that every large split has."""
        return streamable(self.function).always and self.reference is None and not self.settings and not self.whole


class Statistics(Protocol):
    """Where results for streamed arrays come from: stored pieces, or a trace."""

    def whole(self, array: "Streamed") -> "Named":
        """Return the array as a whole where a function needs it beside another one; raise WholeArrayNeeded."""

    def value(self, call: Call, models: Mapping[str | None, str], given: Mapping[str, Any]) -> Any:
        """Return the function's result; `models` has the key of the scored model (None) and of its reference."""


class Streamed:
    """Logits (N, C) or features (N, D) of a split that is not held whole, or some rows of them."""

    def __init__(
        self,
        source: Source,
        model: str,
        shape: tuple[int, ...],
        statistics: Statistics,
        rows: Rows | None = None,
    ) -> None:
        self.source, self.model, self.statistics, self.rows = source, model, statistics, rows
        self._shape = shape

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape if self.rows is None else (len(self.rows), *self._shape[1:])

    @property
    def ndim(self) -> int:
        return len(self._shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> "Streamed":
        chosen = np.asarray(rows)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iub":
            raise self.needed()
        positions = np.arange(self._shape[0]) if self.rows is None else self.rows
        return Streamed(self.source, self.model, self._shape, self.statistics, positions[chosen])

    def needed(self) -> WholeArrayNeeded:
        """Return the error of a function that reads the array itself."""
        return WholeArrayNeeded(f"it reads the {self.source.array} of {self.source.role} as a whole", self.source)

    def of(self, reference: str | None) -> "Streamed":
        """Return the array as that of a reference model."""
        return Streamed(self.source._replace(reference=reference), self.model, self._shape, self.statistics, self.rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise self.needed()

    def __iter__(self) -> Any:
        raise self.needed()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise self.needed()


class Named(np.ndarray):
    """An array of a split that is held whole, with its source; what is computed from it is a plain array."""

    source: Source | None
    model: str

    def __array_finalize__(self, obj: Any) -> None:
        self.source, self.model = None, ""


def named(array: np.ndarray, source: Source, model: str) -> Named:
    """Return the array with its source, without a copy."""
    view = np.asarray(array).view(Named)
    view.source, view.model = source, model
    return view


def mergeable(
    merge: Merge, *, whole: Sequence[str] = (), labels: str = "labels", always: bool = False
) -> Callable[[Function], Function]:
    """Let a function accept `Streamed` arrays: `merge` says how the results of pieces become the result of the whole.

    Args:
        whole: parameters whose arrays must be held whole while the others stream past.
        labels: the parameter that takes the labels of the streamed split.
        always: whether it is computed for every large split.
    """

    def decorate(function: Function) -> Function:
        spec = Streamable(function, merge, tuple(whole), labels, always)
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not any(isinstance(value, Streamed) for value in (*args, *kwargs.values())):
                return function(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return _resolve(cast(Callable[..., Any], call), spec, bound.arguments)

        setattr(call, ATTRIBUTE, spec)
        return cast(Function, call)

    return decorate


def streamable(function: Callable[..., Any]) -> Streamable:
    """Return what the decorator knows about a function."""
    return cast(Streamable, getattr(function, ATTRIBUTE))


def _resolve(function: Callable[..., Any], spec: Streamable, given: Mapping[str, Any]) -> Any:
    given = {
        name: value.statistics.whole(value) if isinstance(value, Streamed) and name in spec.whole else value
        for name, value in given.items()
    }
    streamed = {name: value for name, value in given.items() if isinstance(value, Streamed)}
    if not streamed:
        return spec.function(**given)
    whole, settings = {}, {}
    for name, value in given.items():
        if name in (spec.labels, "positions", *streamed):
            continue
        if isinstance(value, Named) and value.source is not None:
            whole[name] = value
        elif name in spec.whole:
            raise WholeArrayNeeded(f"{function.__name__} is called with computed {name} beside a large split")
        else:
            settings[name] = _hashable(value)
    first = next(iter(streamed.values()))
    for other in streamed.values():
        if other.source.role != first.source.role or not _same_rows(first.rows, other.rows):
            raise WholeArrayNeeded(f"{function.__name__} compares different samples of large splits")
    arrays: list[Any] = [*streamed.values(), *whole.values()]
    sources = [(value.source, value.model) for value in arrays if value.source is not None]
    models = {source.reference: model for source, model in sources if source.array != "labels"}
    alone = len(models) == 1
    if alone:  # what is computed of a reference model alone is computed of every model
        models = {None: next(iter(models.values()))}
    if len(models) > 2 or None not in models:
        raise WholeArrayNeeded(f"{function.__name__} compares more than two models on a large split")
    call = Call(
        function,
        tuple((name, _anonymous(value.source, alone)) for name, value in streamed.items()),
        tuple((name, _anonymous(value.source, alone)) for name, value in whole.items() if value.source),
        tuple(sorted(settings.items())),
    )
    result = first.statistics.value(call, models, given)
    return result if first.rows is None else spec.merge.select(result, first.rows)


def _anonymous(source: Source, alone: bool) -> Source:
    return source._replace(reference=None) if alone else source


def _hashable(value: Any) -> Hashable:
    if isinstance(value, np.ndarray | list):
        return tuple(np.asarray(value).tolist())
    return cast(Hashable, value)


def _same_rows(first: Rows | None, second: Rows | None) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)
