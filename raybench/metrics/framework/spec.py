"""What a metric is: a pure function whose argument names say what it reads from the stored predictions.

    @metric(splits=("retain", "forget", "test", "unseen"), direction="match", low=0, high=1, source="...")
    def accuracy(logits, labels) -> Estimate: ...

Argument names (arrays, one row per sample, rows in sample-id order):

    logits labels features groups                    of the split that the metric is computed on (with `splits`)
    original_<name>                                  the original model on that split
    retrained_<name>                                 one retrained model on that split; the values are averaged over all
    shadow_<name>                                    a list: every retrained model except the one that is scored
    untrained_<name>                                 the same architecture at random weights
    <role>_logits <role>_labels <role>_features ...  of a named split, independent of the current one
                                                     (role: retain forget validation calibration test unseen)
    original_<role>_<name>, retrained_<role>_<name>  the same of the references
    weights, original_weights, retrained_weights     {name: array} of the trained parameters
    alpha                                            one call for each of `evaluate.alphas` of the experiment
    num_classes                                      an int
    class_values                                     the numbers that the classes are named after, (C,)
    <metric>_values                                  another metric with its default settings: {split: value}, or one
                                                     number for a metric of the whole model; also original_, retrained_

`downstream` in `splits` means every downstream set of the experiment; these are called `downstream-<name>`. Every other
argument needs a default and is a setting (`evaluate.metrics: {knn: {k: 10}}`). A metric returns one `Estimate`, or a
dict of them whose keys complete its name (`{"": ..., "_set_size": ...}`). A metric without `splits` is computed once a
model. It raises ValueError with a reason for inputs on which it is not defined; the table then shows the reason instead
of a number.

The docstring of a metric opens with what a high, a low and an equal-to-retrained value mean. The definition follows,
then details.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

ATTRIBUTE = "raybench_spec"
Direction = Literal["match", "raise", "lower"]
Function = TypeVar("Function", bound=Callable[..., Any])


class Estimate(NamedTuple):
    """A value with its 95 % confidence interval; `low` and `high` are NaN only where `interval` gives the reason."""

    value: float
    low: float
    high: float
    n: int  # samples, or what the interval counts
    interval: str  # method of the interval: "clopper-pearson", "delong, logit t", "jackknife", "none: <reason>" ...


@dataclass(frozen=True)
class MetricSpec:
    """What the report, the documentation and `raybench list metrics` know about a metric."""

    source: str
    direction: Direction
    low: float
    high: float
    ideal: float | None
    splits: tuple[str, ...]
    protocol: Literal["corrected", "released"]
    cost: str = ""  # in terms of the sizes that it depends on
    caution: str = ""  # when not to trust it
    released: str = ""  # what released code computes instead, and how large the difference is on an example
    on_request: bool = False  # not part of `metrics: all`: slow, or with very many rows


def metric(
    *,
    source: str,
    direction: Direction,
    low: float = float("-inf"),
    high: float = float("inf"),
    ideal: float | None = None,
    splits: Sequence[str] = (),
    protocol: Literal["corrected", "released"] = "corrected",
    cost: str = "",
    caution: str = "",
    released: str = "",
    on_request: bool = False,
) -> Callable[[Function], Function]:
    """Register a pure function as a metric of the evaluation under its own name.

    `cost`, `caution` (when not to trust it) and `released` (what the code of a paper computes instead, and how large
    the difference is on an example) appear in docs/metrics.md.
    """

    def register(function: Function) -> Function:
        spec = MetricSpec(
            source, direction, low, high, ideal, tuple(splits), protocol, cost, caution, released, on_request
        )
        setattr(function, ATTRIBUTE, spec)  # the same as `raybench.registry.attach`, which metrics do not import
        return function

    return register
