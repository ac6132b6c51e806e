"""Try a model before anything runs: one that cannot learn from the images fails here, in seconds.

What a model is depends on its code and its settings, not on the samples, so a success is remembered in the storage.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from raybench import models
from raybench.data.reading.encoded import Encoded
from raybench.engine.losses import supervised
from raybench.engine.user_errors import training_failed
from raybench.errors import UserError
from raybench.fingerprints import code_fingerprint
from raybench.models import num_outputs
from raybench.models.heads import feature_size
from raybench.scenario.scenario import Scenario
from raybench.storage.store import fingerprint


@dataclass(frozen=True)
class ModelSize:
    """The number of parameters of a model, and of values in its penultimate features (0 if they are not a vector)."""

    parameters: int
    features: int


def try_model(scenario: Scenario) -> ModelSize:
    """Run one forward and backward pass on two retain samples, unless this succeeded before; return the model's size.

    Raises UserError that names the user's line if the model fails, or if it returns something else than one row of
    logits per sample.
    """
    key = f"artifacts/tried/{_key(scenario)}.json"
    if scenario.store.exists(key):
        return ModelSize(**scenario.store.read_json(key))
    model = scenario.fresh(0)
    _pass(scenario, model)
    size = ModelSize(models.num_parameters(model), feature_size(model))
    scenario.store.write_json(key, asdict(size), durable=False)
    return size


def _key(scenario: Scenario) -> str:
    """Return a fingerprint of everything that decides whether a model can learn, except the values of the pixels."""
    images = scenario.data()
    shape = None if isinstance(images.images, Encoded) else images.images.shape[1:]
    return fingerprint(
        "tried",
        [scenario.architecture(), scenario.channels, images.num_classes, images.task, shape],
        [torch.__version__, str(scenario.device), scenario.experiment.train.channels_last],
        [code_fingerprint(models.build), code_fingerprint(supervised)],
    )


def _pass(scenario: Scenario, model: nn.Module) -> None:
    split = scenario.samples(scenario.role_ids("retain")[:2])
    x, y = split.batch(np.arange(len(split)), generator=None)
    name = scenario.experiment.model.name
    shape = f"a batch of shape {tuple(x.shape)}"
    # only a function of the user can take another shape by choice
    hint = " (a model function may also take `channels` and `image_size`)" if "." in name else ""
    try:
        model.train()
        logits = model(x)
        rows = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        expected = (len(x), num_outputs(model))
        if rows == expected:
            torch.autograd.backward(supervised(logits.float(), y))
    except UserError:
        raise
    except Exception as error:
        raise training_failed(f"model.name: {name} on {shape}{hint}", error) from error
    if rows != expected:
        raise UserError(f"model.name: {name} returned {rows} for {shape}; expected logits of shape {expected}")
