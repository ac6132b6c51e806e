"""Predict the samples of an audit with all of its models, in one pass over each set."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raybench import models
from raybench.api.overlap import digests
from raybench.data.reading.loaders import batches
from raybench.engine.prediction import Predictions, predict
from raybench.engine.user_errors import describe
from raybench.errors import UserError
from raybench.jobs.specs import EvaluatedModel


@dataclass(frozen=True)
class Model:
    """One model of an audit: its identity in the tables, the torch module, and its name in messages."""

    identity: EvaluatedModel
    module: nn.Module
    argument: str  # "retrained[2]"

    @property
    def id(self) -> str:
        return self.identity.id


class Batch:
    """One batch as a split: what the engine predicts, on the device and in the dtype of a model."""

    def __init__(self, x: Tensor, y: Tensor, like: Tensor) -> None:
        self.x = x.to(like.device, like.dtype)
        self.labels = y
        self.ids = np.arange(len(y), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, positions: np.ndarray | Tensor, *, generator: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        rows = torch.as_tensor(positions)
        return self.x[rows.to(self.x.device)], self.labels[rows]


def predict_set(
    audited: Sequence[Model], data: Any, role: str, *, batch_size: int | None, num_classes: int | None
) -> tuple[dict[str, Predictions], set[bytes]]:
    """Return the predictions of every model on one set, by model id, and the hashes of its samples.

    Ids count the samples in the order they are read.

    The set is read once for all models, so that they see the same pixels whatever its order or augmentation. Raise
    UserError for models whose outputs are no logits, that disagree on the number of classes, or that lack the class of
    a label.
    """
    parts: dict[str, list[Predictions]] = {model.id: [] for model in audited}
    samples: set[bytes] = set()
    with evaluating(audited), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a data set may augment
        for x, y in batches(data, role, batch_size=batch_size):
            samples.update(digests(x))
            for model in audited:
                if not parts[model.id]:
                    num_classes = _check(model, x, y, role, num_classes)
                parts[model.id].append(_predict(model, x, y, role))
    stacked = {key: _stacked(pieces) for key, pieces in parts.items()}
    _check_labels(next(iter(stacked.values())), role)
    return stacked, samples


@contextmanager
def evaluating(audited: Sequence[Model]) -> Iterator[None]:
    """Put the models in eval mode; afterwards every submodule has the mode it had."""
    modes = [(module, module.training) for model in audited for module in model.module.modules()]
    for model in audited:
        model.module.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _predict(model: Model, x: Tensor, y: Tensor, role: str) -> Predictions:
    try:
        return predict(model.module, Batch(x, y, next(model.module.parameters())), batch_size=len(y))
    except UserError:
        raise
    except Exception as error:
        raise _failed(model, x, role, error) from error


def _failed(model: Model, x: Tensor, role: str, error: Exception) -> UserError:
    shape = tuple(x.shape)
    return UserError(f"{model.argument} cannot predict a batch {shape} of {role}: {describe(error)}")


@torch.inference_mode()
def _check(model: Model, x: Tensor, y: Tensor, role: str, num_classes: int | None) -> int:
    """Return the number of classes of a model after one forward pass; raise UserError unless it returns logits."""
    weight = next(model.module.parameters(), None)
    if weight is None:
        raise UserError(f"{model.argument} has no parameters; a {type(model.module).__name__} has nothing to unlearn")
    try:
        with models.feature_tap(model.module) as tap:
            logits = model.module(x[:1].to(weight.device, weight.dtype))
    except UserError as error:
        raise UserError(f"{model.argument}: {error}") from error
    except Exception as error:
        raise _failed(model, x[:1], role, error) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        kind = f"a tensor {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise UserError(f"{model.argument} returns {kind}; it must return logits as a tensor (N, classes)")
    if tap.features is None:
        head = models.head_name(model.module)
        raise UserError(f"{model.argument}: its forward pass does not call its last linear layer {head!r}")
    size = int(logits.shape[1])
    if num_classes is not None and size != num_classes:
        raise UserError(f"{model.argument} has {size} classes, but original has {num_classes}; all must have the same")
    if y.ndim == 2 and y.shape[1] != size:
        raise UserError(f"{role}: its labels are vectors of {y.shape[1]}, but original has {size} outputs")
    return size


def _check_labels(predictions: Predictions, role: str) -> None:
    labels, size = predictions.labels, predictions.logits.shape[1]
    highest = size - 1 if labels.ndim == 1 else 1
    if labels.min() < 0 or labels.max() > highest:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"{role}: label {wrong:g} (allowed: 0 to {highest}, as original has {size} outputs)")


def _stacked(pieces: Sequence[Predictions]) -> Predictions:
    labels, logits, features = (
        np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("labels", "logits", "features")
    )
    return Predictions(np.arange(len(labels), dtype=np.int64), labels, logits, features)


def read_weights(module: nn.Module, left_out: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    """Return the weights by name, without those whose name ends in one of `left_out`."""
    state = {name: value.detach().cpu() for name, value in module.state_dict().items() if not name.endswith(left_out)}
    return {name: (value.float() if value.is_floating_point() else value).numpy() for name, value in state.items()}
