"""Try the model on two samples before anything starts: a model that does not fit the images fails here, in seconds."""

import numpy as np
import torch

from raybench.engine.losses import supervised
from raybench.engine.user_errors import training_failed
from raybench.errors import UserError
from raybench.models import num_outputs
from raybench.scenario.scenario import Scenario


def try_model(scenario: Scenario) -> None:
    """Run one forward and backward pass on two retain samples.

    Raises UserError that names the user's line if the model fails, or if it returns something else than one row of
    logits per sample.
    """
    model = scenario.fresh(0)
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
