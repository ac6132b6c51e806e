"""Methods and a model as users write them, and an exact place to interrupt a run. Copied into the test project.

A test that wants to interrupt a run writes a JSON file into `interrupts/` beside this file. The model reads it at every
forward pass, and acts once the storage holds the given number of files: `wait` blocks this worker until it is killed,
`die` kills this worker, and no second one.
"""

import json
import os
import signal
import time
from pathlib import Path

from torch import Tensor, nn

from raybench import Rate, method
from raybench.models import small_cnn

INTERRUPTS = Path(__file__).parent / "interrupts"


def network(num_classes: int, channels: int) -> nn.Module:
    """Return raybench's small network, four channels wide, with an interruptible forward pass."""
    return Interruptible(small_cnn(num_classes, channels, width=4))


class Interruptible(nn.Module):
    """Look for an interrupt before every forward pass."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> Tensor:
        for path in INTERRUPTS.glob("*.json"):
            interrupt(path)
        return self.layers(images)


def interrupt(path: Path) -> None:
    """Carry out one interrupt if its moment has come."""
    try:
        order = json.loads(path.read_text())
        if len(list(Path(order["artifacts"]).glob(order["pattern"]))) < order["count"]:
            return
        if order["action"] == "die":
            path.rename(path.with_suffix(".done"))
            os.kill(os.getpid(), signal.SIGKILL)
    except FileNotFoundError:  # another worker was faster
        return
    path.with_suffix(".reached").touch()
    while True:
        time.sleep(1)


@method(source="a test")
def shrink(task, *, by: Rate = 0.1) -> None:
    """Scale every weight down: a one-shot edit."""
    for parameter in task.model.parameters():
        parameter.data.mul_(1 - by)


@method(source="a test")
def broken(task) -> None:
    """Fail, as a method under development does."""
    raise ZeroDivisionError("a mistake in the method")
