"""The kinds of jobs, small enough to send to any worker, and the identity of the models they make and measure."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from raybench.storage.store import Store

Phase = Literal["search", "final"]


def model_id(key: str) -> str:
    """Return the id of a model (or population) in the tables: the last part of its artifact's key."""
    return key.rsplit("/", 1)[-1].removesuffix(".parquet")


@dataclass(frozen=True)
class EvaluatedModel:
    """A model of the tables, or a population of models: who it is, and the key of its artifact."""

    name: str
    kind: Literal["original", "retrained", "unlearned", "population"]
    method: str
    seed: int | None
    key: str

    @property
    def id(self) -> str:
        return model_id(self.key)

    @property
    def identity(self) -> dict[str, Any]:
        """Return the columns that identify the model in every table."""
        return {"model": self.id, "name": self.name, "kind": self.kind, "method": self.method, "seed": self.seed}


class Job(ABC):
    """A unit of work. `units` counts what its progress bar counts, `finished` how many of them the store holds."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[str, ...]:
        """Return the keys whose existence means that the job is done."""

    @property
    def units(self) -> int:
        return 1

    def finished(self, store: Store) -> int:
        return int(all(store.exists(key) for key in self.outputs))


@dataclass(frozen=True)
class TrainJob(Job):
    """Train one model from scratch, or import the user's checkpoint, and audit it."""

    name: str
    kind: Literal["original", "retrained"]
    seed: int
    roles: tuple[str, ...]
    key: str
    audit_key: str
    checkpoint: str | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        return f"{self.key}.json", self.audit_key

    @property
    def model(self) -> EvaluatedModel:
        return EvaluatedModel(self.name, self.kind, self.kind, self.seed, self.key)


@dataclass(frozen=True)
class TrialJob(Job):
    """Run one method with one setting and seed; `final` runs keep the unlearned model."""

    name: str
    method: str  # the key under `methods:`, which is the function's name unless it sets `method`
    function: str
    values: tuple[tuple[str, Any], ...]
    seed: int
    phase: Phase
    original: str
    key: str

    @property
    def outputs(self) -> tuple[str, ...]:
        return (f"{self.key}.json",)

    @property
    def setting(self) -> dict[str, Any]:
        return dict(self.values)

    @property
    def model(self) -> EvaluatedModel:
        return EvaluatedModel(self.name, "unlearned", self.method, self.seed, self.key)


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
    def units(self) -> int:
        """Return the number of forward passes over the piece."""
        return len(self.models)

    def finished(self, store: Store) -> int:
        return sum(store.exists(key) for key in self.outputs)


@dataclass(frozen=True)
class ScoreJob(Job):
    """Compute the metric rows and sample rows of one model from stored predictions."""

    model: EvaluatedModel
    original: str
    retrained: tuple[str, ...]
    untrained: str | None
    key: str

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.key,)

    @property
    def samples_key(self) -> str:
        return self.key.replace(".parquet", "-samples.parquet")


@dataclass(frozen=True)
class PopulationJob(Job):
    """Compare many runs of one method with the retrained models, as distributions."""

    method: str
    unlearned: tuple[str, ...]
    original: str
    retrained: tuple[str, ...]
    key: str

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.key,)

    @property
    def samples_key(self) -> str:
        return self.key.replace(".parquet", "-samples.parquet")

    @property
    def model(self) -> EvaluatedModel:
        return EvaluatedModel(f"{self.method}-population", "population", self.method, None, self.key)


@dataclass(frozen=True)
class RelearnJob(Job):
    """Train a copy of one model on the forget set until it is as accurate there as the original."""

    model: EvaluatedModel
    original: str
    key: str

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.key,)
