"""One number for logits, one for features, one for both: AGL, AGR and H-LR, each with the parts that it is made of.

The paper that names them (arXiv 2503.06991) could not be read for its formulas: these are ours, from `composite`. Each
part is an agreement, 1 - |difference to a retrained model|, or a CKA to it: any other score can be made of them.
"""

import numpy as np

from raybench.metrics.accuracy import accuracy
from raybench.metrics.framework.arrays import Array, as_array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions import composite
from raybench.metrics.functions.composite import Agreement, Variant

SOURCE = "the names of arXiv 2503.06991; formula ours"
NO_INTERVAL = "none: made of other scores"


@metric(
    source=SOURCE,
    direction="raise",
    low=0,
    high=1,
    cost="three times `accuracy`, for each retrained model",
    caution=(
        "It has no sign: forgetting too much and too little lower it alike. The mean hides most: the digits' originals "
        "get 0.93 by it and 0.81 by the product, retrained models 0.985 and 0.955."
    ),
)
def agl(
    forget_logits: Array,
    forget_labels: Array,
    retain_logits: Array,
    retain_labels: Array,
    test_logits: Array,
    test_labels: Array,
    retrained_forget_logits: Array,
    retrained_retain_logits: Array,
    retrained_test_logits: Array,
    *,
    variant: Variant = "product",
) -> dict[str, Estimate]:
    """Return the agreement of accuracies with a retrained model's, in 0..1: their product (or mean) and each of them.

    The parts are `_forget`, `_retain` and `_test`; where whole classes are forgotten, `_test_forgotten` and
    `_test_retained` (the test samples of those classes, and of the others) instead of `_test`. Up to the noise floor,
    higher is better. n counts samples.
    """
    labels = {"forget": forget_labels, "retain": retain_labels, "test": test_labels}
    own = {"forget": forget_logits, "retain": retain_logits, "test": test_logits}
    retrained = {"forget": retrained_forget_logits, "retain": retrained_retain_logits, "test": retrained_test_logits}
    rows = {role: np.arange(len(given)) for role, given in labels.items()}
    gone = forgotten_classes(forget_labels, retain_labels)
    if len(gone):
        is_gone = np.isin(as_array(test_labels, name="labels", dtype=None), gone)
        rows = {"forget": rows["forget"], "retain": rows["retain"]}
        rows |= {"test_forgotten": np.flatnonzero(is_gone), "test_retained": np.flatnonzero(~is_gone)}
        if lacking := [name for name, found in rows.items() if not len(found)]:
            raise ValueError(f"there is no sample of {lacking[0]}")

    def accuracies(logits: dict[str, Array]) -> dict[str, float]:
        found = {}
        for name, chosen in rows.items():
            role = name.split("_", 1)[0]
            found[name] = accuracy(np.asarray(logits[role])[chosen], np.asarray(labels[role])[chosen]).value
        return found

    return _with_parts(
        composite.agl(accuracies(own), accuracies(retrained), variant=variant), sum(map(len, rows.values()))
    )


@metric(
    source=SOURCE,
    direction="raise",
    low=0,
    high=1,
    cost="nothing beside its parts, `downstream_knn` and `downstream_cka_to_retrained`",
    caution=(
        "The product falls with the number of sets: nine with a CKA of 0.9 and a k-NN gap of 0.01 give 0.35 (their "
        "mean 0.945). Compare models over the same sets only."
    ),
)
def agr(
    downstream_knn_values: dict[str, float],
    retrained_downstream_knn_values: dict[str, float],
    downstream_cka_to_retrained_values: dict[str, float],
    *,
    variant: Variant = "product",
) -> dict[str, Estimate]:
    """Return the agreement of features with a retrained model's on the downstream sets, in 0..1, and its parts.

    Product (or mean) of 1 - |k-NN - the retrained model's| and CKA to it, both for every set: `_knn_<set>`,
    `_cka_<set>`. A CKA below 0 counts as 0. Up to the noise floor, higher is better. n counts parts.
    """
    found = composite.agr(
        downstream_knn_values, retrained_downstream_knn_values, downstream_cka_to_retrained_values, variant=variant
    )
    return _with_parts(found, len(found.parts))


@metric(
    source=SOURCE,
    direction="raise",
    low=0,
    high=1,
    cost="nothing beside `agl` and `agr`",
    caution=(
        "It hides which half failed, and follows the lower one, mostly that of more parts: 0.95 and 0.35 give 0.51. "
        "Both are taken at their default settings, whatever the experiment sets for them."
    ),
)
def h_lr(agl_values: float, agr_values: float) -> Estimate:
    """Return the harmonic mean of `agl` and `agr`, in 0..1, 0 where either is; up to the noise floor, higher is better.

    Their parts are rows of their own.
    """
    logit, feature = (Agreement(value, {}, "product") for value in (agl_values, agr_values))
    return Estimate(composite.h_lr(logit, feature).value, np.nan, np.nan, 2, NO_INTERVAL)


def forgotten_classes(forget_labels: Array, retain_labels: Array) -> np.ndarray:
    """Return the classes of which every training sample is to be forgotten; none for labels (N, L)."""
    forget, retain = (as_array(given, name="labels", dtype=None) for given in (forget_labels, retain_labels))
    return np.setdiff1d(forget, retain) if forget.ndim == 1 else np.empty(0, dtype=np.int64)


def _with_parts(found: Agreement, n: int) -> dict[str, Estimate]:
    parts = {f"_{name.replace(' downstream-', ' ').replace(' ', '_')}": value for name, value in found.parts.items()}
    return {name: Estimate(value, np.nan, np.nan, n, NO_INTERVAL) for name, value in {"": found.value, **parts}.items()}
