"""What a metric is: a pure function whose argument names say what it reads from the stored predictions.

    @metric(splits=("retain", "forget", "test", "unseen"), direction="match", low=0, high=1, source="...")
    def accuracy(logits, labels) -> Estimate: ...

Argument names (arrays, one row per sample, rows in sample-id order):

    logits labels features groups                    of the split the metric is computed on (`splits` given)
    original_<name>                                  the original model on that split
    retrained_<name>                                 one retrained model on that split; averaged over them all
    shadow_<name>                                    a list of all retrained models' but that of the scored one
    untrained_<name>                                 the same architecture at random weights
    <role>_logits <role>_labels <role>_features ...  of a named split, whatever the current one is
                                                     (role: retain forget validation calibration test unseen)
    original_<role>_<name>, retrained_<role>_<name>  the same of the references
    weights, original_weights, retrained_weights     {name: array} of what was learned
    alpha                                            one call for each of the experiment's `evaluate.alphas`
    num_classes                                      an int
    class_values                                     the numbers that the class names are, (C,)
    <metric>_values                                  another metric at its defaults: {split: value}, or the one number
                                                     of a metric of the whole model; also original_, retrained_

`downstream` among the splits stands for every downstream set of the experiment; these go by `downstream-<name>`. Every
other argument needs a default and is a setting (`evaluate.metrics: {knn: {k: 10}}`). A metric returns one `Estimate`,
or a dict of them whose keys complete its name (`{"": ..., "_set_size": ...}`). A metric without `splits` is computed
once per model. It raises ValueError, with the reason, for inputs on which it is not defined; that reason, and no
number, goes into the table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

ATTRIBUTE = "raybench_spec"
Direction = Literal["match", "raise", "lower"]
Function = TypeVar("Function", bound=Callable[..., Any])


class Estimate(NamedTuple):
    """A number with its n and its 95 % interval (`low` and `high` are NaN only where `interval` says why)."""

    value: float
    low: float
    high: float
    n: int
    interval: str  # how the interval was made: "clopper-pearson", "delong", "jackknife", "none: <why>" ...


@dataclass(frozen=True)
class MetricSpec:
    """The row of a metric in the table that the report and `raybench list metrics` read."""

    source: str
    direction: Direction
    low: float
    high: float
    ideal: float | None
    splits: tuple[str, ...]
    protocol: Literal["corrected", "released"]
    cost: str = ""  # in the sizes it depends on
    caution: str = ""  # when not to trust it
    released: str = ""  # what released code computes instead, and by how much that differs on an example
    on_request: bool = False  # left out of `metrics: all`: it takes long, or makes very many rows


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
    """Mark a pure function as a metric of the evaluation; its name is the function's.

    `cost`, `caution` (when not to trust it) and `released` (what a source's code computes instead, with the size of the
    difference on an example) are for readers of docs/metrics.md.
    """

    def mark(function: Function) -> Function:
        spec = MetricSpec(
            source, direction, low, high, ideal, tuple(splits), protocol, cost, caution, released, on_request
        )
        setattr(function, ATTRIBUTE, spec)  # as `raybench.registry` does, which metrics do not import
        return function

    return mark
