"""The kinds of jobs, small enough to send to any worker, and the identity of the models they make and measure."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from raybench.metrics.framework.streaming import Call
from raybench.scenario.stored_splits import Request
from raybench.storage.store import Store

Phase = Literal["search", "finalist", "final"]


def model_id(key: str) -> str:
    """Return the id of a model (or population) in the tables: the last part of its artifact's key."""
    return key.rsplit("/", 1)[-1].removesuffix(".parquet")


@dataclass(frozen=True)
class EvaluatedModel:
    """A model of the tables, or a population of models: who it is, and the key of its artifact.

    `original`: number of the original that the model is or started from; 0 for a retrained model, whose metrics that
    read an original compare it with the first; None for a population.
    """

    name: str
    kind: Literal["original", "retrained", "unlearned", "population"]
    method: str
    seed: int | None
    key: str
    original: int | None = 0

    @property
    def id(self) -> str:
        return model_id(self.key)

    @property
    def identity(self) -> dict[str, Any]:
        """Return the columns that identify the model in every table."""
        names = ("name", "kind", "method", "seed", "original")
        return {"model": self.id, **{name: getattr(self, name) for name in names}}


class Job(ABC):
    """A unit of work. `units` counts what its progress bar counts, `finished` how many of them the store holds."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[str, ...]:
        """Return the keys whose existence means that the job is done."""

    @property
    @abstractmethod
    def title(self) -> str:
        """Return what the job is called in progress messages and in Ray's dashboard."""

    @property
    def units(self) -> int:
        return 1

    def finished(self, store: Store) -> int:
        return int(all(store.exists(key) for key in self.outputs))


@dataclass(frozen=True)
class TrainJob(Job):
    """Train one model from scratch and audit it, or audit the user's `checkpoint`; `number` counts the originals."""

    name: str
    kind: Literal["original", "retrained"]
    seed: int
    roles: tuple[str, ...]
    key: str
    audit_key: str
    checkpoint: str | None = None
    number: int = 0
    request: Request = "reported"  # whose retain set the model is trained on
    tuning_audit_key: str | None = None  # of an original whose utility a search aims at

    @property
    def outputs(self) -> tuple[str, ...]:
        return f"{self.key}.json", self.audit_key, *([self.tuning_audit_key] if self.tuning_audit_key else [])

    @property
    def title(self) -> str:
        return f"train {self.name}"

    @property
    def model(self) -> EvaluatedModel:
        return EvaluatedModel(self.name, self.kind, self.kind, self.seed, self.key, self.number)


@dataclass(frozen=True)
class TrialJob(Job):
    """Run one method with one setting and seed.

    `search` trials select a setting, the best of them run again as `finalist`; `final` runs are reported and keep the
    unlearned model. `original` is the key of the model to start from, `original_number` its number in this experiment.
    With a `checkpoint`, the user has unlearned the model, and the job only audits it; `function` is then empty.
    """

    name: str
    method: str  # the key under `methods:`, which is the function's name unless it sets `method`
    function: str
    values: tuple[tuple[str, Any], ...]
    seed: int
    phase: Phase
    original: str
    key: str
    original_number: int = 0
    request: Request = "reported"
    checkpoint: str | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        return (f"{self.key}.json",)

    @property
    def title(self) -> str:
        if self.phase == "final":
            return f"final {self.method} seed {self.seed}"
        return f"{'trial' if self.phase == 'search' else 'finalist'} {self.method} {model_id(self.key)[:8]}"

    @property
    def setting(self) -> dict[str, Any]:
        return dict(self.values)

    @property
    def model(self) -> EvaluatedModel:
        return EvaluatedModel(self.name, "unlearned", self.method, self.seed, self.key, self.original_number)


@dataclass(frozen=True)
class SearchJob(Job):
    """Search one method adaptively: each trial's setting depends on the finished ones, which lie in one folder."""

    method: str
    original: str
    trials: int
    folder: str

    @property
    def outputs(self) -> tuple[str, ...]:
        return ()

    @property
    def title(self) -> str:
        return f"search {self.method}"

    @property
    def units(self) -> int:
        return self.trials

    def finished(self, store: Store) -> int:
        return min(self.trials, len(store.keys(self.folder, suffix=".json")))


@dataclass(frozen=True)
class PredictJob(Job):
    """Predict one piece of one split with several models: images are read once for all of them."""

    role: str
    start: int
    stop: int
    models: tuple[tuple[str, str], ...]  # (model key, predictions key)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(key for _, key in self.models)

    @property
    def title(self) -> str:
        return f"predict {self.role}, {len(self.models)} models"

    @property
    def units(self) -> int:
        """Return the number of forward passes over the piece."""
        return len(self.models)

    def finished(self, store: Store) -> int:
        return sum(store.exists(key) for key in self.outputs)


class PieceFiles(NamedTuple):
    """What is stored of one model for a piece of a streamed split; None for what is not."""

    model: str
    signals: str | None
    kept: str | None
    statistics: tuple[tuple[str | None, tuple[Call, ...], str], ...]  # (reference model, calls, key)

    @property
    def keys(self) -> tuple[str, ...]:
        found = (self.signals, self.kept, *(key for *_, key in self.statistics))
        return tuple(key for key in found if key is not None)


@dataclass(frozen=True)
class StreamJob(Job):
    """Predict every `pieces`-th sample of a split that is never held whole; keep only what metrics need of it."""

    role: str
    piece: int
    pieces: int
    kept: tuple[str, ...]  # of logits, features
    files: tuple[PieceFiles, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(key for files in self.files for key in files.keys)

    @property
    def title(self) -> str:
        return f"predict {self.role}, {len(self.files)} models"

    @property
    def units(self) -> int:
        """Return the number of forward passes over the piece."""
        return len(self.files)

    @property
    def reads(self) -> frozenset[str]:
        """Return the splits whose predictions must be stored before."""
        calls = (call for files in self.files for _, group, _ in files.statistics for call in group)
        return frozenset(source.role for call in calls for _, source in call.whole)

    def finished(self, store: Store) -> int:
        return sum(all(map(store.exists, files.keys)) for files in self.files)


@dataclass(frozen=True)
class ScoreJob(Job):
    """Compute the metric rows and sample rows of one model from stored predictions; `original` is its own original."""

    model: EvaluatedModel
    original: str
    retrained: tuple[str, ...]
    untrained: str | None
    key: str

    @property
    def title(self) -> str:
        return f"score {self.model.name}"

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.key,)

    @property
    def samples_key(self) -> str:
        return self.key.replace(".parquet", "-samples.parquet")


@dataclass(frozen=True)
class PopulationJob(Job):
    """Compare many runs of one method with the retrained models, as distributions; `originals` are the control."""

    method: str
    unlearned: tuple[str, ...]
    originals: tuple[str, ...]
    retrained: tuple[str, ...]
    key: str

    @property
    def title(self) -> str:
        return f"compare {self.method}"

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.key,)

    @property
    def samples_key(self) -> str:
        return self.key.replace(".parquet", "-samples.parquet")

    @property
    def model(self) -> EvaluatedModel:
        return EvaluatedModel(f"{self.method}-population", "population", self.method, None, self.key, None)


@dataclass(frozen=True)
class RelearnJob(Job):
    """Train a copy of one model on the forget set until it is as accurate there as its original."""

    model: EvaluatedModel
    original: str
    key: str

    @property
    def title(self) -> str:
        return f"relearn {self.model.name}"

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.key,)
