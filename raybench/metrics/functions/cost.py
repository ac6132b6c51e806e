"""What an unlearning run costs, counted, as a share of retraining: a method dearer than retraining is no method.

A ledger counts `samples_forward`, `samples_backward`, `steps` and `seconds`, and may hold `peak_memory_bytes`. Epochs
are not compared: "2 epochs" hide 46 to 494 steps among the methods of one paper (Choi and Na 2023).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raybench.metrics.functions.statistics import mean_interval

Ledger = Mapping[str, float]
COUNTS = ("samples_forward", "samples_backward", "steps", "seconds")
# a backward pass multiplies by the weights twice: for the gradient of the inputs and of the weights
BACKWARD_PER_FORWARD = 2.0


@dataclass(frozen=True)
class Shares:
    """Cost divided by that of retraining: 0 is free, 1 is retraining, above 1 retraining is cheaper."""

    samples: float  # passes, a backward pass weighing two forward ones
    samples_forward: float
    samples_backward: float
    steps: float
    seconds: float


def sample_passes(ledger: Ledger) -> float:
    """Return the samples passed through the model, in forward passes; a backward pass counts as two."""
    checked = _checked(ledger)
    return checked["samples_forward"] + BACKWARD_PER_FORWARD * checked["samples_backward"]


def share_of_retraining(ledger: Ledger, retraining: Ledger | Sequence[Ledger]) -> Shares:
    """Return the cost of `ledger` divided by that of `retraining`, the mean over models if several are given.

    Samples and steps are the same on any machine, seconds are not. Lower is better. Raise ValueError where a ledger
    lacks a count or holds a negative one, or where retraining is counted as nothing.
    """
    references = [retraining] if isinstance(retraining, Mapping) else list(retraining)
    if not references:
        raise ValueError("no retraining to compare the cost with")
    checked = [_checked(reference) for reference in references]
    own = _checked(ledger)
    means = {name: mean_interval([reference[name] for reference in checked]).value for name in COUNTS}
    for name, mean in means.items():
        if mean == 0:
            raise ValueError(f"retraining counts no {name}, so no share of it can be given")
    return Shares(
        samples=sample_passes(own) / sample_passes(means), **{name: own[name] / means[name] for name in COUNTS}
    )


def total(ledgers: Sequence[Ledger]) -> dict[str, float]:
    """Return the sum of counts over runs or stages (a method's search included), and the largest peak memory."""
    checked = [_checked(ledger) for ledger in ledgers]
    summed = {name: sum(ledger[name] for ledger in checked) for name in COUNTS}
    if any("peak_memory_bytes" in ledger for ledger in ledgers):
        summed["peak_memory_bytes"] = peak_memory(ledgers)
    return summed


def peak_memory(ledgers: Sequence[Ledger]) -> float:
    """Return the largest `peak_memory_bytes` of the ledgers (stages of a run, or its workers), in bytes."""
    peaks = [float(ledger["peak_memory_bytes"]) for ledger in ledgers if "peak_memory_bytes" in ledger]
    if not peaks:
        raise ValueError("no ledger holds peak_memory_bytes")
    return max(peaks)


def peak_memory_share(ledger: Ledger, retraining: Ledger) -> float:
    """Return peak memory divided by that of retraining; above 1 where a method holds teachers."""
    reference = peak_memory([retraining])
    if reference <= 0:
        raise ValueError(f"retraining's peak memory must be above 0, got {reference}")
    return peak_memory([ledger]) / reference


def flops(
    ledger: Ledger, *, forward_flops_per_sample: float, backward_per_forward: float = BACKWARD_PER_FORWARD
) -> float:
    """Return the floating point operations of a run, from those of one forward pass of one sample.

    Operations of the optimizer, per weight and step, are left out: small beside a batch of samples.
    """
    if not forward_flops_per_sample > 0:
        raise ValueError(f"forward_flops_per_sample must be above 0, got {forward_flops_per_sample}")
    checked = _checked(ledger)
    passes = checked["samples_forward"] + backward_per_forward * checked["samples_backward"]
    return forward_flops_per_sample * passes


def _checked(ledger: Ledger) -> dict[str, float]:
    missing = [name for name in COUNTS if name not in ledger]
    if missing:
        raise ValueError(f"the ledger lacks {', '.join(missing)} (it has {', '.join(ledger) or 'nothing'})")
    counts = {name: float(ledger[name]) for name in COUNTS}
    for name, count in counts.items():
        if not 0 <= count < float("inf"):
            raise ValueError(f"{name} must be a finite count of at least 0, got {count}")
    return counts
