"""What jobs leave in the store, as JSON: the typed records of trained models, trials and relearning probes."""

from typing import Any, Literal, NotRequired, TypedDict

from raybench.engine.audit import Audit
from raybench.jobs.specs import Phase

Status = Literal["finished", "stopped", "failed"]
EpochRow = dict[str, Any]
"""One epoch of a trial: `epoch`, the audit's values and the cost so far."""


class ModelRecord(TypedDict):
    """A trained or imported model: what it is, how it was trained, what that cost."""

    key: str
    kind: Literal["original", "retrained"]
    seed: int
    parameters: int
    # all of these are None for an imported checkpoint
    recipe: dict[str, Any] | None
    samples_forward: int | None
    samples_backward: int | None
    steps: int | None
    seconds: float | None
    epochs: int | None
    loss: float | None
    workers: int | None  # at the end
    groups: NotRequired[list[int]]  # the numbers of workers that trained it, in turn
    data_wait: NotRequired[float]  # mean over the epochs of the curve's values; absent for an imported checkpoint
    curve: NotRequired[list[dict[str, float]]]  # a row per epoch; absent for an imported checkpoint


class AuditedRecord(ModelRecord):
    """A model's record with its validation-time evaluation, which has its own key."""

    audit: Audit


class TrialRecord(TypedDict):
    """A trial: its setting, a row per epoch, its final audit and cost, or its error."""

    key: str
    name: str
    method: str
    phase: Phase
    seed: int
    original: str
    setting: dict[str, Any]
    hyperparameters: dict[str, Any]
    status: Status
    reason: str | None
    traceback: NotRequired[str]
    epochs: list[EpochRow]
    audit: Audit | None
    ledger: dict[str, Any]


class RelearningRecord(TypedDict):
    """A relearning probe of one model."""

    model: str
    target_accuracy: float
    epochs: int
    samples: int
    reached: bool
    curve: list[float]
