"""BatchNorm over the global batch of a data-parallel training.

torch.nn.SyncBatchNorm runs on GPUs only and counts every row that a worker computes. This one runs on any device and
leaves out the rows that do not belong to the worker, so that a group normalizes as a single worker does.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce as differentiable_all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class SynchronizedBatchNorm(_BatchNorm):
    """BatchNorm whose training statistics are those of all workers of the default process group together."""

    def __init__(self, layer: _BatchNorm) -> None:
        """Take over the parameters and buffers of `layer`."""
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self.training = layer.training
        self.own: tuple[int, int] | None = None  # rows that belong to this worker, of how many

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected an input (B, C, ...), not one of shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if not self.training:
            return super().forward(input)
        own, rows = self.own or (1, 1)
        x = input.float()
        counted = x[: len(x) * own // rows]
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        count = x.new_full((1,), counted.numel() / x.shape[1])
        totals = _sum(torch.cat([counted.sum(axes), count]))
        mean, total = totals[:-1] / totals[-1], totals[-1].detach()
        centered = counted - mean.view(shape)
        variance = _sum(centered.square().sum(axes)) / total
        self._track(mean.detach(), variance.detach(), total)
        scale = torch.rsqrt(variance + self.eps)
        normalized = (x - mean.view(shape)) * scale.view(shape)
        if self.affine:
            normalized = normalized * self.weight.view(shape) + self.bias.view(shape)
        result: Tensor = normalized.to(input.dtype)
        return result

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance * (total / (total - 1).clamp(min=1)), rate)


def _sum(value: Tensor) -> Tensor:
    """Return the sum over the workers, with a gradient."""
    total: Tensor = differentiable_all_reduce(value)  # type: ignore[no-untyped-call]
    return total


def synchronize(model: nn.Module) -> nn.Module:
    """Replace every BatchNorm of the model in place; names and weights stay. Return the model."""
    if isinstance(model, _BatchNorm):
        return SynchronizedBatchNorm(model)
    for name, child in model.named_children():
        setattr(model, name, synchronize(child))
    return model


def set_own_rows(model: nn.Module, own: int, rows: int) -> None:
    """Tell the layers that the first `own` of the next `rows` rows belong to this worker."""
    for layer in model.modules():
        if isinstance(layer, SynchronizedBatchNorm):
            layer.own = (own, rows)


def group_mean(value: Tensor) -> Tensor:
    """Return the mean of a tensor over the workers of the default process group."""
    value = value.clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()
