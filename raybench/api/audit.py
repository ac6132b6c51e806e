"""Audit models that exist already: did unlearning work? Without an experiment file, without storage, without Ray."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from raybench import models
from raybench.api.audited import Audit
from raybench.api.loading import load
from raybench.api.overlap import shared_samples
from raybench.api.predicting import Model, predict_set, read_weights
from raybench.engine.prediction import Predictions
from raybench.errors import UserError
from raybench.jobs.keys import UNTRAINED_SEED
from raybench.jobs.score import BATCH_NORM_STATISTICS
from raybench.jobs.specs import EvaluatedModel
from raybench.metrics.functions.classes import forgotten_classes
from raybench.scoring import metric_rows
from raybench.scoring.average_gap import BY_FORGOTTEN_CLASS
from raybench.scoring.binding import NO_DOWNSTREAM

UNLEARNED = "unlearned"  # name of a method that is passed without one
RESERVED = ("original", "retrained")
WORDING = {"(train.retrained_seeds)": "(retrained=)", NO_DOWNSTREAM: "an audit has no downstream sets"}

OneModel = nn.Module | str | Path
Models = OneModel | Sequence[OneModel]


def audit(
    original: Models,
    unlearned: Models | Mapping[str, Models],
    *,
    retrained: Models = (),
    architecture: nn.Module | str | None = None,
    forget: Any,
    retain: Any,
    test: Any,
    unseen: Any,
    calibration: Any = None,
    validation: Any = None,
    groups: Sequence[Any] | None = None,
    metrics: str | Sequence[str] | Mapping[str, Mapping[str, Any]] = "all",
    alphas: Sequence[float] = (0.05, 0.1, 0.2),
    margin: float = 0.1,
    batch_size: int | None = None,
) -> Audit:
    """Measure what unlearned models still remember of the forget set, compared with models that never saw it.

    Metrics, residual memory and verdict are those of an experiment's report. A verdict on forgetting needs 5 or more
    `retrained` models; with fewer, the numbers are shown and the verdict is withheld.

    Args:
        original: the model that was trained on forget and retain samples; a list of models that differ by their
            training seed.
        unlearned: the unlearned model; a list of them (runs of one method); or a dictionary of models or lists by the
            name of the method. With several originals, run i of a method started from original i.
        retrained: models trained on the retain samples only, with the recipe of the original and other seeds.
        architecture: needed if models are paths of checkpoints (state dicts of torch or safetensors): a torch module,
            or a name of `raybench list models`. The weights are read into copies of it.
        forget, retain, test, unseen: torch data sets of (x, y), DataLoaders, or tuples (x, y) of arrays, with the
            preprocessing that the models were trained with, without augmentation. Forget and retain samples were
            trained on. No model was trained or selected on test samples, which measure utility, nor on unseen samples,
            the non-members of attacks; both are from the distribution of the forget set. Sample ids count the samples
            in the order of the data set, from 0; a DataLoader's shuffling and `drop_last` are ignored.
        calibration, validation: more samples that no model was trained on. Conformal metrics need `calibration`;
            metrics without their samples have a reason instead of a value.
        groups: the identity of each forget sample, in order, if whole identities are forgotten.
        metrics: "all", a name, names, or settings by name: {"knn": {"k": 10}}.
        alphas: miscoverage levels of the conformal metrics.
        margin: residual memory that counts as forgotten.
        batch_size: samples per batch; by default that of a DataLoader, otherwise 256. It changes speed only.

    The models stay on their devices, and their weights and train/eval modes do not change. Raise UserError for an empty
    set, data without labels or that can be read only once, models with different numbers of classes, and a set that
    contains half of the forget samples or more (a few are named in the verdict).
    """
    audited = _models(original, unlearned, retrained, architecture)
    chosen = metric_rows.chosen_metrics(_selection(metrics), downstream=False)
    levels = _levels(alphas)
    if not 0 <= margin <= 1:
        raise UserError(f"margin = {margin}: must be a fraction from 0 to 1")
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size = {batch_size}: must be at least 1")
    sets = {"forget": forget, "retain": retain, "test": test, "unseen": unseen}
    sets |= {"calibration": calibration, "validation": validation}
    reads_untrained = any("untrained" in metric_rows.references_read(name) for name in chosen)
    untrained = _untrained(audited[0]) if reads_untrained else None
    predicted = [*audited, *([untrained] if untrained else [])]
    known: dict[tuple[str, str], Predictions] = {}
    samples: dict[str, set[bytes]] = {}
    num_classes = None
    for role, data in sets.items():
        if data is None:
            continue
        results, samples[role] = predict_set(predicted, data, role, batch_size=batch_size, num_classes=num_classes)
        for key, predictions in results.items():
            known[key, role] = predictions
            num_classes = predictions.logits.shape[1]
    assert num_classes is not None
    if "accuracy" in chosen and _forgets_classes(known):
        chosen = {**{name: {} for name in BY_FORGOTTEN_CLASS}, **chosen}
    notes = shared_samples(samples)
    rows = _rows(audited, untrained, known, chosen, levels, num_classes)
    return Audit(
        [model.identity for model in audited], rows, known, units=_units(groups, known), margin=margin, notes=notes
    )


def _forgets_classes(known: Mapping[tuple[str, str], Predictions]) -> bool:
    """Return whether the forget set holds a class that the retain set lacks."""
    labels = {role: predictions.labels for (_, role), predictions in known.items()}
    return "retain" in labels and len(forgotten_classes(labels["forget"], labels["retain"])) > 0


def _models(
    original: Models,
    unlearned: Models | Mapping[str, Models],
    retrained: Models,
    architecture: nn.Module | str | None,
) -> list[Model]:
    """Return all models: originals first, then retrained and unlearned ones."""
    originals, references = (
        _listed(given, name, architecture) for given, name in ((original, "original"), (retrained, "retrained"))
    )
    if not originals:
        raise UserError("original is empty: pass the model that unlearning started from")
    audited = []
    for i, (argument, module) in enumerate(originals):
        name = "original" if len(originals) == 1 else f"original-{i}"
        audited.append(Model(EvaluatedModel(name, "original", "original", i, name, i), module, argument))
    for i, (argument, module) in enumerate(references):
        if any(module is other for _, other in originals):
            raise UserError(f"{argument} is the original; a retrained model was trained on the retain samples only")
        name = f"retrained-{i}"
        audited.append(Model(EvaluatedModel(name, "retrained", "retrained", i, name, 0), module, argument))
    methods = unlearned if isinstance(unlearned, Mapping) else {UNLEARNED: unlearned}
    if not methods:
        raise UserError("unlearned is empty: pass a model, a list of models, or a dictionary of them")
    for method, given in methods.items():
        if not isinstance(method, str) or not method or method in RESERVED:
            raise UserError(f"unlearned: {method!r} cannot name a method (allowed: any text but {', '.join(RESERVED)})")
        argument = f"unlearned[{method!r}]" if isinstance(unlearned, Mapping) else "unlearned"
        runs = _listed(given, argument, architecture)
        if not runs:
            raise UserError(f"unlearned[{method!r}] is empty: pass at least one model")
        if len(runs) > len(originals) > 1:
            raise UserError(
                f"unlearned: {method} has {len(runs)} runs and there are {len(originals)} originals; pass one run per "
                "original, in the same order, or a single original"
            )
        for i, (argument, module) in enumerate(runs):
            start = i if len(originals) > 1 else 0
            name = f"{method}-{i}"
            audited.append(Model(EvaluatedModel(name, "unlearned", method, i, name, start), module, argument))
    return audited


def _listed(given: Any, argument: str, architecture: nn.Module | str | None) -> list[tuple[str, nn.Module]]:
    """Return (argument in messages, model) of one model or a list of models; paths are read."""
    if isinstance(given, nn.Module | str | Path):
        return [(argument, _module(given, argument, architecture))]
    if not isinstance(given, Sequence):
        raise UserError(f"{argument} is a {type(given).__name__}; it must be a torch module or a path, or a list")
    names = [f"{argument}[{i}]" for i in range(len(given))]
    return [(name, _module(one, name, architecture)) for name, one in zip(names, given)]


def _module(given: Any, argument: str, architecture: nn.Module | str | None) -> nn.Module:
    if isinstance(given, nn.Module):
        return given
    if isinstance(given, str | Path):
        return load(given, architecture, argument)
    raise UserError(
        f"{argument} is a {type(given).__name__}; it must be a torch module, or the path of a checkpoint with "
        "architecture="
    )


def _selection(metrics: Any) -> Any:
    return [metrics] if isinstance(metrics, str) and metrics != "all" else metrics


def _levels(alphas: Sequence[float]) -> list[float]:
    levels = [float(alpha) for alpha in alphas]
    if not levels or len(set(levels)) < len(levels) or not all(0 < alpha < 1 for alpha in levels):
        raise UserError(f"alphas = {levels}: must be distinct numbers between 0 and 1, at least one")
    return levels


def _untrained(original: Model) -> Model:
    """Return the architecture of the original at random weights."""
    module = copy.deepcopy(original.module)
    models.reset(module, seed=UNTRAINED_SEED)
    return Model(EvaluatedModel("untrained", "original", "untrained", None, "untrained", None), module, "original")


def _rows(
    audited: Sequence[Model],
    untrained: Model | None,
    known: Mapping[tuple[str, str], Predictions],
    chosen: Mapping[str, Mapping[str, Any]],
    alphas: Sequence[float],
    num_classes: int,
) -> list[metric_rows.Row]:
    """Return the metric rows of every model with its identity, without gaps."""
    by_id = {model.id: model for model in audited}
    originals = [model.id for model in audited if model.identity.kind == "original"]
    retrained = tuple(model.id for model in audited if model.identity.kind == "retrained")
    values: dict[Any, Any] = {}

    def read(model: str, role: str) -> Predictions:
        if (model, role) not in known:
            raise ValueError(f"needs {role} samples ({role}=)")
        return known[model, role]

    def weights(model: str) -> Mapping[str, np.ndarray]:
        return read_weights(by_id[model].module, BATCH_NORM_STATISTICS)

    rows = []
    for model in audited:
        reads = metric_rows.Models(
            read,
            originals[model.identity.original or 0],
            retrained,
            None,
            num_classes,
            untrained=untrained.id if untrained else None,
            weights=weights,
            known=values,
        )
        rows += [{**row, **model.identity.identity} for row in metric_rows.score(model.id, chosen, alphas, reads)]
    return [_worded(row) for row in rows]


def _worded(row: metric_rows.Row) -> metric_rows.Row:
    """Return a row whose reason names arguments of `audit` instead of keys of an experiment."""
    if row.get("reason") is None:
        return row
    reason = str(row["reason"])
    for text, replacement in WORDING.items():
        reason = reason.replace(text, replacement)
    return {**row, "reason": reason}


def _units(groups: Sequence[Any] | None, known: Mapping[tuple[str, str], Predictions]) -> dict[int, int] | None:
    """Return the number of the identity of each forget sample."""
    if groups is None:
        return None
    size = next(len(predictions.ids) for (_, role), predictions in known.items() if role == "forget")
    values = np.asarray(groups)
    if values.shape != (size,):
        raise UserError(
            f"groups has shape {values.shape}; it must name the identity of each of the {size} forget samples"
        )
    codes = np.unique(values, return_inverse=True)[1].reshape(-1)
    return dict(enumerate(codes.tolist()))
