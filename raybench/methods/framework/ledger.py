"""Cost of a run: hooks on the models count every forward and backward pass.

Methods count nothing themselves, so passes through teachers and copies are included.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raybench import activity

ONE_VALUE = "_raybench_one_value"  # marks a layer during one forward pass


@dataclass
class Ledger:
    """Cost of a run: samples through forward and backward passes, optimizer steps, wall-clock seconds."""

    samples_forward: int = 0
    samples_backward: int = 0
    steps: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """Return the fields as a dict."""
        return asdict(self)


class Stopped(Exception):
    """Raised to end a method early, by the end-of-epoch hook or the sample budget; carries the reason."""


class Meter:
    """Count the passes of the watched models in a ledger, and stop the run when the budget is spent."""

    def __init__(self, ledger: Ledger, *, max_samples: int | None = None, float_logits: bool = False) -> None:
        """`float_logits` casts logits to fp32 under mixed precision, so that losses are computed in fp32."""
        self.ledger = ledger
        self.max_samples = max_samples
        self.active = True
        self._float_logits = float_logits
        self._pending = 0  # samples whose graph has no backward pass yet
        self._handles: dict[nn.Module, list[Any]] = {}

    def watch(self, model: nn.Module) -> None:
        """Count the forward passes of this model from now on; a second call has no effect."""
        if model in self._handles:
            return
        self._handles[model] = [model.register_forward_pre_hook(self._record)]
        if self._float_logits:
            self._handles[model].append(model.register_forward_hook(lambda _module, _inputs, logits: logits.float()))
        for layer in model.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                self._handles[model].append(layer.register_forward_pre_hook(_before_batch_norm))
                self._handles[model].append(layer.register_forward_hook(_after_batch_norm, always_call=True))

    def _record(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if self.max_samples is not None and self.ledger.samples_forward >= self.max_samples:
            raise Stopped(f"the budget of {self.max_samples} samples is spent")
        self.add_forward(len(inputs[0]), waits=torch.is_grad_enabled())

    def add_forward(self, samples: int, *, waits: bool = False) -> None:
        """Count a forward pass; `waits` means that a backward pass may follow."""
        self.ledger.samples_forward += samples
        activity.advance(samples)
        if waits:
            self._pending += samples

    def add_backward(self, samples: int) -> None:
        """Count a backward pass explicitly, where several go through one graph."""
        self.ledger.samples_backward += samples

    def forget_graph(self) -> None:
        """Expect no further backward pass of the samples counted so far."""
        self._pending = 0

    def close_graph(self, loss: Tensor | None = None) -> None:
        """Count the backward pass of all samples that went forward with gradients since the last one."""
        if loss is not None:
            activity.advance(0, loss=loss.detach())
        if self.active:
            self.ledger.samples_backward += self._pending
        self._pending = 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing inside: these passes are not the method's, or are counted explicitly."""
        before, self.active = self.active, False
        try:
            yield
        finally:
            self.active = before

    def close(self) -> None:
        """Remove every hook."""
        for handles in self._handles.values():
            for handle in handles:
                handle.remove()
        self._handles = {}


def _before_batch_norm(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    # PyTorch raises an error for one value per channel, which has no variance; use the running statistics instead
    if layer.training and inputs[0].numel() == inputs[0].shape[1]:
        layer.training = False
        setattr(layer, ONE_VALUE, True)


def _after_batch_norm(layer: nn.Module, _inputs: object, _outputs: object) -> None:
    if getattr(layer, ONE_VALUE, False):
        layer.training = True
        delattr(layer, ONE_VALUE)
