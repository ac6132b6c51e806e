"""Redraw selected weights from their initial distribution."""

import math

import torch
from torch import Tensor


@torch.no_grad()
def redraw(weight: Tensor, selected: Tensor) -> None:
    """Redraw the selected weights in place from N(0, 2 / fan_in), Kaiming's initialization for ReLU networks."""
    fan_in = weight[0].numel()
    weight.copy_(torch.where(selected, torch.randn_like(weight) * math.sqrt(2 / fan_in), weight))
