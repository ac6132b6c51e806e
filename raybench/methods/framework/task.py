"""What a method works on: the model to change, seeded batches, the frozen original, optimizers, and the ledger.

Everything that is easy to get wrong is implemented here once: BatchNorm modes, mixed precision, seeds, masks that
freeze weights completely, and the counting of forward and backward passes.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from raybench.data.reading.batches import Split, seed_for
from raybench.engine.devices import autocast
from raybench.engine.losses import distillation, supervised
from raybench.engine.optimization import build_optimizer
from raybench.methods.framework.architecture import Stage
from raybench.methods.framework.defaults import Training
from raybench.methods.framework.ledger import Ledger, Meter, Stopped
from raybench.methods.framework.optimization import Mask, Schedule
from raybench.methods.framework.passes import Batch, Driver, Passes, Role
from raybench.methods.framework.spec import Settings
from raybench.methods.framework.teaching import Teacher, infer
from raybench.models import Tap, feature_tap, num_outputs

__all__ = ["Batch", "Driver", "Ledger", "Role", "Split", "Stopped", "UnlearningTask"]


class UnlearningTask(Passes):
    """One run of one method: `task.model` starts as a copy of the original and ends as the unlearned model."""

    def __init__(
        self,
        original: nn.Module,
        *,
        forget: Split,
        retain: Split,
        calibration: Split | None = None,
        seed: int = 0,
        settings: Settings | None = None,
        training: Training | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
        fresh: Callable[[int], nn.Module],
        train_from_scratch: Callable[[nn.Module, Split, int, "UnlearningTask"], None] | None = None,
        on_epoch: Callable[["UnlearningTask", int], str | None] | None = None,
    ) -> None:
        """Prepare the run; `original` itself never changes.

        Args:
            calibration: samples that no method trains on, for methods that calibrate a quantile during training.
            training: what default rates and durations follow, for a method that runs another one.
            fresh: function of a seed that returns a newly initialized model of the same architecture.
            train_from_scratch: training with the recipe of the experiment, which `retrain` uses.
            on_epoch: called after every epoch; a returned reason stops the method.
        """
        settings, on = settings or Settings(), next(original.parameters()).device
        super().__init__(forget=forget, retain=retain, calibration=calibration, seed=seed, settings=settings, device=on)
        self.training = training or Training(num_forget=len(forget), num_retain=len(retain))
        self.precision = precision
        self.random = np.random.default_rng(seed_for("method", seed))
        self.ledger = Ledger()
        self.meter = Meter(self.ledger, max_samples=settings.max_samples, float_logits=precision == "bf16")
        self.epochs_done, self.train_from_scratch = 0, train_from_scratch
        self._original, self._fresh, self._on_epoch = original, fresh, on_epoch
        self._mask: Mask | None = None
        self._schedule = Schedule(settings)
        self._frozen: list[nn.Module] = []
        self._terms: list[Callable[[], Tensor]] = []
        self._epoch_starts: list[Callable[[], None]] = []
        self._teacher: Teacher | None = None
        self._taps: dict[nn.Module, Tap] = {}
        self._hooks = ExitStack()
        self._started = time.perf_counter()
        self.model = self._copy(original)
        self.train_mode()

    # -- models -------------------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the model."""
        return next(self.model.parameters()).dtype

    @property
    def num_classes(self) -> int:
        """Number of outputs of the model."""
        return num_outputs(self.model)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of the model by name."""
        return dict(self.model.named_parameters())

    def _copy(self, model: nn.Module) -> nn.Module:
        copied = copy.deepcopy(model).requires_grad_(True)
        self.meter.watch(copied)
        return copied

    def copy_of_model(self) -> nn.Module:
        """Return a copy of the current model in train mode; its passes are counted too."""
        copied = self._copy(self._original)
        copied.load_state_dict(self.model.state_dict())
        return copied.train()

    def fresh_model(self, *, seed: int | None = None) -> nn.Module:
        """Return a newly initialized model of the same architecture; its passes are counted too."""
        model = self._fresh(self.seed if seed is None else seed).to(self.device, self.dtype).requires_grad_(True)
        self.meter.watch(model)
        return model

    def frozen_original(self) -> nn.Module:
        """Return the original in eval mode without gradients, the teacher of distillation methods."""
        if self._teacher is None:
            self._teacher = Teacher(self._copy(self._original).eval().requires_grad_(False))
        return self._teacher.model

    def teacher(self, batch: Batch) -> Tensor:
        """Return the original's logits on a batch, computed once per sample if the inputs never change."""
        self.frozen_original()
        assert self._teacher is not None
        return self._teacher.logits(batch, num_samples=self.num_samples(batch.role))

    def logits_and_features(self, x: Tensor, *, model: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """Return logits (B, K) and penultimate features (B, D) of the model, or of a frozen `model` without a graph."""
        source = model or self.model
        if source not in self._taps:
            self._taps[source] = self._hooks.enter_context(feature_tap(source))
        logits = source(x) if model is None else infer(source, x)
        features = self._taps[source].features
        assert features is not None
        return logits, features.to(self.dtype) if model is None else features.clone().to(self.dtype)

    def pair_logits(self, retain: Tensor, forget: Tensor) -> tuple[Tensor, Tensor]:
        """Return retain and forget logits from two forward passes, retain first, or from one with `joint_forward`."""
        if not self.settings.joint_forward:
            return self.model(retain), self.model(forget)
        logits = self.model(torch.cat([retain, forget]))
        return logits[: len(retain)], logits[len(retain) :]

    # -- modes --------------------------------------------------------------------------------------------------------

    def train_mode(self) -> None:
        """Set the model to train mode, BatchNorm according to `bn_mode`; every epoch starts with this call."""
        self.model.train()
        mode = self.settings.bn_mode
        if mode == "frozen" or (mode == "train_then_frozen" and self.epochs_done > 0):
            for layer in self.model.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.eval()
        for module in self._frozen:
            module.eval()

    @contextmanager
    def eval_mode(self) -> Iterator[nn.Module]:
        """Set the model to eval mode inside, for importances and one-shot edits of the model as it predicts."""
        self.model.eval()
        try:
            yield self.model
        finally:
            self.train_mode()

    def freeze(self, stages: list[Stage], *, statistics: bool = True) -> None:
        """Freeze the parameters of these stages and, with `statistics`, their BatchNorm buffers."""
        for name in (name for stage in stages for name in stage.parameter_names()):
            self.model.get_parameter(name).requires_grad_(False)
        if statistics:
            self._frozen += [module for stage in stages for module in stage.modules.values()]
        self.train_mode()

    # -- losses and steps ---------------------------------------------------------------------------------------------

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the task loss: cross-entropy, or binary cross-entropy for multi-label targets."""
        return supervised(logits, targets)

    def distillation(self, student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
        """Return T^2 KL(teacher || student) per sample; a sum of Bernoulli divergences for multi-label targets."""
        return distillation(student, teacher, temperature, multi_label=self.multi_label)

    def optimizer(
        self, lr: float, *, parameters: list[nn.Parameter] | None = None, weight_decay: float | None = None
    ) -> torch.optim.Optimizer:
        """Return the optimizer of the settings over `parameters`, by default all parameters of the model."""
        trained = parameters if parameters is not None else list(self.model.parameters())
        optimizer = build_optimizer(self.settings, trained, lr=lr, weight_decay=weight_decay)
        self._schedule.add(optimizer, lr)
        return optimizer

    def restrict(self, free: dict[str, Tensor], *, gradient_only: bool = False) -> None:
        """Restrict all later updates to the weights where `free[name]` is true; other parameters are not restricted.

        The whole update is masked, weight decay and momentum included; `gradient_only` masks only the gradient.
        """
        self._mask = Mask(free, self.parameters, gradient_only=gradient_only)

    def add_term(self, term: Callable[[], Tensor], *, at_epoch_start: Callable[[], None] | None = None) -> None:
        """Add a term to the loss of every later step."""
        self._terms.append(term)
        if at_epoch_start is not None:
            self._epoch_starts.append(at_epoch_start)

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients of the loss and count its samples."""
        with autocast("fp32", self.device):  # a backward pass uses the dtypes of its forward pass
            torch.autograd.backward(loss)
        self.meter.close_graph(loss)

    def gradients(self, loss: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradients of the loss, zero for inputs it does not depend on; counts as a backward pass."""
        gradients = torch.autograd.grad(loss, list(inputs), allow_unused=True, materialize_grads=True)
        self.meter.close_graph()
        return list(gradients)

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        loss: Tensor,
        *,
        gradient_mask: dict[str, Tensor] | None = None,
        clip_norm: float | None = None,
        keep_gradients: bool = False,
        advance: bool = True,
    ) -> None:
        """Take one optimizer step on the loss: gradients, mask, clipping, update, counting.

        Args:
            gradient_mask: factors of the gradients in this step, by parameter name.
            clip_norm: replaces the shared `clip_norm` in this step.
            keep_gradients: add to the gradients that `backward` accumulated.
            advance: count the step in a schedule that changes the learning rate per step.
        """
        for term in self._terms:
            loss = loss + term()
        if not keep_gradients:
            optimizer.zero_grad(set_to_none=True)
        self.backward(loss)
        if self._mask is not None:
            self._mask.before_step()
        for name, factor in (gradient_mask or {}).items():
            if (gradient := self.model.get_parameter(name).grad) is not None:
                gradient.mul_(factor)
        if (norm := clip_norm or self.settings.clip_norm) is not None:
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], norm)
        optimizer.step()
        if self._mask is not None:
            self._mask.after_step()
        self.ledger.steps += 1
        if advance:
            self._schedule.after_step()

    # -- epochs, counting ---------------------------------------------------------------------------------------------

    def epochs(self, number: int, *, steps: float | None = None) -> Iterator[int]:
        """Yield 0 .. number - 1, each after `train_mode` and before the end-of-epoch hook.

        `steps` is the number of optimizer steps per epoch, which schedules that change per step need.
        """
        self._schedule.start(epochs=number, steps=steps)
        for epoch in range(number):
            self.train_mode()
            self._schedule.start_epoch(epoch, number)
            for start in self._epoch_starts:
                start()
            yield epoch
            self.end_epoch(self.epochs_done)
        self._schedule.end()

    def end_epoch(self, epoch: int) -> None:
        """Call the hook; raise `Stopped` if it returns a reason."""
        self.epochs_done += 1
        self.ledger.seconds = time.perf_counter() - self._started
        if self._on_epoch is None:
            return
        paused = time.perf_counter()
        with self.uncounted():
            reason = self._on_epoch(self, epoch)
        self._started += time.perf_counter() - paused  # the time of the audit is not part of the method's cost
        if reason:
            raise Stopped(reason)

    def uncounted(self) -> AbstractContextManager[None]:
        """Exclude the forward passes inside from the ledger: they belong to the audit, not to the method."""
        return self.meter.paused()

    def close(self) -> nn.Module:
        """End the run: remove all hooks, stop the clock, return the unlearned model with the original's flags."""
        self.ledger.seconds = time.perf_counter() - self._started
        self._cycles.clear()  # ends the endless passes, and cancels the batches that they prepare
        self.meter.close()
        self._hooks.close()
        self.model.zero_grad(set_to_none=True)
        for module, before in zip(self.model.modules(), self._original.modules()):
            module.training = before.training
        for parameter, original in zip(self.model.parameters(), self._original.parameters()):
            parameter.requires_grad_(original.requires_grad)
        return self.model
