"""Predict a piece of a split that is never held whole, and compute what metrics need while it passes.

Images are read once for all models. A batch goes through every model; logits and features of some thousand samples are
then handed to the accumulators and forgotten.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from raybench import activity
from raybench.data.reading.batches import iterate, seed_for
from raybench.engine.devices import autocast, resolve_precision
from raybench.engine.prediction import Predictions
from raybench.jobs import piece_files
from raybench.jobs.specs import PieceFiles, StreamJob, model_id
from raybench.jobs.stored import StoredPredictions
from raybench.metrics.framework.streaming import Accumulator, Call, Positions, State, streamable
from raybench.metrics.functions.stored_signals import SIGNALS
from raybench.models import feature_tap
from raybench.models.heads import feature_size
from raybench.scenario.scenario import Scenario
from raybench.storage import tables

FLUSHED_ROWS = 1024  # samples whose predictions are held: enough for fast products, 13 MB of ResNet-50 and ImageNet
ACCUMULATED_BYTES = 4 << 30  # of accumulators at a time; further models take another pass over the piece

Load = Callable[[str], nn.Module]


class Block(NamedTuple):
    """Predictions of one model on consecutive rows of a piece."""

    logits: np.ndarray
    features: Tensor  # where the model is: metrics compute on their device


class _Guarded:
    """An accumulator, or the reason why there is no result."""

    def __init__(self, call: Call) -> None:
        spec = streamable(call.function)
        self.call = call
        self._accumulator: Accumulator = spec.merge.accumulator(spec.function, dict(call.settings))
        self._labels, self._error = spec.labels, None
        self._takes_labels = spec.labels in _parameters(spec.function)
        self._state: State | None = None

    def update(self, arrays: dict[str, Any], labels: np.ndarray, positions: Positions) -> None:
        if self._state is not None:
            return
        if self._takes_labels:
            arrays[self._labels] = labels
        try:
            self._accumulator.update(arrays, positions)
        except ValueError as error:  # not defined on these predictions: the metric shows it as its reason
            self._state = piece_files.failed(error)

    def state(self) -> State:
        return self._accumulator.state() if self._state is None else self._state


def _parameters(function: Callable[..., Any]) -> Sequence[str]:
    code = function.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


class _Collected:
    """What is collected of one model."""

    def __init__(self, files: PieceFiles, stored: StoredPredictions, kept: tuple[str, ...]) -> None:
        self.files, self._stored, self._kept = files, stored, kept
        signals = SIGNALS if files.signals else {}
        self.signals = {name: _Guarded(Call(function, ())) for name, function in signals.items()}
        self.groups = [
            (reference, [_Guarded(call) for call in calls], key) for reference, calls, key in files.statistics
        ]
        self.arrays: dict[str, list[np.ndarray]] = {array: [] for array in kept}

    def update(self, blocks: dict[str, Block], labels: np.ndarray, positions: Positions) -> None:
        own = blocks[self.files.model]
        for array, parts in self.arrays.items():
            parts.append(own.logits if array == "logits" else own.features.cpu().numpy())
        for guarded in self.signals.values():
            guarded.update({"logits": own.logits}, labels, positions)
        for reference, calls, _ in self.groups:
            for guarded in calls:
                guarded.update(self._arrays(guarded.call, reference, blocks), labels, positions)

    def _arrays(self, call: Call, reference: str | None, blocks: dict[str, Block]) -> dict[str, Any]:
        models = {None: self.files.model, call.reference: reference or self.files.model}
        arrays: dict[str, Any] = {}
        for name, source in call.streamed:
            arrays[name] = getattr(blocks[models[source.reference]], source.array)
        for name, source in call.whole:
            arrays[name] = getattr(self._stored.read(models[source.reference], source.role), source.array)
        return arrays


def stream_piece(scenario: Scenario, job: StreamJob, load: Load, stored: StoredPredictions) -> int:
    """Write the files that are missing of a piece; return the number of models."""
    missing = [files for files in job.files if not all(map(scenario.store.exists, files.keys))]
    for number, part in enumerate(parts := list(_affordable(missing, load))):
        activity.advance(0, done=number / len(parts))
        _stream(scenario, job, part, load, stored)
    return len(missing)


def _affordable(files: Sequence[PieceFiles], load: Load) -> Iterator[list[PieceFiles]]:
    """Yield models in parts whose accumulators fit into memory together."""
    part: list[PieceFiles] = []
    size = 0
    for model in files:
        width = feature_size(load(model.model)) if model.statistics else 0
        calls = [call for _, group, _ in model.statistics for call in group]
        needed = sum(streamable(call.function).merge.memory(width) for call in calls)
        if part and size + needed > ACCUMULATED_BYTES:
            yield part
            part, size = [], 0
        part.append(model)
        size += needed
    if part:
        yield part


@torch.inference_mode()
def _stream(
    scenario: Scenario, job: StreamJob, part: Sequence[PieceFiles], load: Load, stored: StoredPredictions
) -> None:
    ids = scenario.role_ids(job.role)
    rows = np.arange(job.piece, len(ids), job.pieces)
    split = scenario.role_samples(job.role, ids[rows])
    augmented = scenario.is_augmented(job.role)
    batches = iterate(
        split,
        batch_size=scenario.experiment.evaluate.batch_size,
        seed=seed_for("train_view", job.role, job.piece) if augmented else 0,
        epoch=0,
        shuffle=False,
        augment=augmented,
    )
    references = {reference for files in part for reference, *_ in files.statistics if reference}
    models = {key: load(key).eval() for key in sorted({files.model for files in part} | references)}
    collected = [_Collected(files, stored, job.kept) for files in part]
    precision = resolve_precision(scenario.experiment.resources.precision, scenario.device)
    waiting: dict[str, list[tuple[Tensor, Tensor]]] = {key: [] for key in models}
    labels: list[np.ndarray] = []
    start = held = 0

    def flush() -> None:
        nonlocal start, held
        blocks = {}
        for key, parts in waiting.items():
            logits, features = (torch.cat(arrays) for arrays in zip(*parts, strict=True))
            blocks[key] = Block(logits.cpu().numpy(), features)
        positions = Positions(rows[start : start + held], len(ids))
        targets = np.concatenate(labels)
        for result in collected:
            result.update(blocks, targets, positions)
        for parts in waiting.values():
            parts.clear()
        labels.clear()
        start, held = start + held, 0

    all_labels = []
    for x, y in batches:
        for key, model in models.items():
            with feature_tap(model) as tap, autocast(precision, scenario.device):
                logits = model(x).float()
            assert tap.features is not None
            waiting[key].append((logits, tap.features.float()))
        labels.append(y.cpu().numpy())
        all_labels.append(labels[-1])
        held += len(x)
        activity.advance(len(x) * len(models))
        if held >= FLUSHED_ROWS:
            flush()
    if held:
        flush()
    for result in collected:
        _write(scenario, job, result, ids[rows], np.concatenate(all_labels))


def _write(scenario: Scenario, job: StreamJob, model: _Collected, ids: np.ndarray, labels: np.ndarray) -> None:
    store, files, view = scenario.store, model.files, scenario.view_name(job.role)
    for _, calls, key in model.groups:
        piece_files.write_states(store, key, [guarded.state() for guarded in calls])
    name = model_id(files.model)
    if files.kept is not None:
        arrays = {array: np.concatenate(parts) for array, parts in model.arrays.items()}
        empty = np.empty((len(ids), 0), dtype=np.float32)
        predictions = Predictions(ids, labels, arrays.get("logits", empty), arrays.get("features", empty))
        table = piece_files.predictions_table(predictions, name, job.role, job.kept)
        store.write_table(files.kept, tables.noted(table, view=view))
    if files.signals is not None:
        states = {key: guarded.state() for key, guarded in model.signals.items()}
        table = piece_files.signals_table(name, job.role, ids, labels, states, view)
        store.write_table(files.signals, table)
