"""Composite scores: single numbers made of the agreement with a retrained model on several sets.

Each is 1 for a model that agrees with a retrained one in every part, and hides in which part another model fails, so
read the parts as well. Retrained models do not reach 1 among themselves; their value is the best that a method can
reach.

The paper behind AGL (agreement of logits), AGR (agreement of representations) and H-LR (their harmonic mean), arXiv
2503.06991, could not be read for its formulas: those used here are defined by raybench. Each part is an agreement,
1 - |difference to a retrained model|, or a CKA to it.
"""

import numpy as np

from raybench.metrics.accuracy import accuracy
from raybench.metrics.framework.arrays import Array, Ints, as_array, take
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions import composite
from raybench.metrics.functions.classes import forgotten_classes
from raybench.metrics.functions.composite import Agreement, Variant
from raybench.metrics.membership_inference import mia_svc

_TUG_OF_WAR = "Zhao et al. 2024, arXiv 2406.01257"
_AGREEMENT = "the names of arXiv 2503.06991; formula defined by raybench"
_HIDES = "A product of values near 1 hides small differences: 0.99 in each factor gives 0.97. Read the parts. "
_NO_INTERVAL = "none: made of other scores"


@metric(
    source=f"ToW of {_TUG_OF_WAR}",
    direction="raise",
    low=0,
    high=1,
    cost="samples * classes, for each retrained model",
    caution=_HIDES + "Where whole classes are forgotten the test set mixes them with the others: read `agl`.",
    released="The paper compares with one retrained model; here the value is the mean over all of them.",
)
def tug_of_war(
    forget_logits: Array,
    forget_labels: Array,
    retain_logits: Array,
    retain_labels: Array,
    test_logits: Array,
    test_labels: Array,
    retrained_forget_logits: Array,
    retrained_retain_logits: Array,
    retrained_test_logits: Array,
) -> Estimate:
    """Measure in one number how close accuracies are to retraining: higher is better, up to the noise floor.

    Tug of war (ToW): the product over forget, retain and test of 1 - |accuracy - accuracy of a retrained model|, in
    0..1.

    Interval: variance estimates recovery with the retrained model fixed. It treats the accuracies as independent, so
    it is wider than two models on the same samples need.
    """
    unlearned = {
        "forget": accuracy(forget_logits, forget_labels),
        "retain": accuracy(retain_logits, retain_labels),
        "test": accuracy(test_logits, test_labels),
    }
    retrained = {
        "forget": accuracy(retrained_forget_logits, forget_labels),
        "retain": accuracy(retrained_retain_logits, retain_labels),
        "test": accuracy(retrained_test_logits, test_labels),
    }
    return composite.tug_of_war(unlearned, retrained)


@metric(
    source=f"ToW-MIA of {_TUG_OF_WAR}, on the SVC confidence attack of SalUn, arXiv 2310.12508",
    direction="raise",
    low=0,
    high=1,
    cost="two support vector machines for each retrained model: about 0.2 s",
    caution=_HIDES + "The attack is one-sided, see `mia_svc`.",
    released="As released: the efficacy of `mia_svc` replaces the accuracy on forget.",
    on_request=True,
)
def tug_of_war_mia(
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
    seed: int = 0,
) -> Estimate:
    """Measure `tug_of_war` with a membership attack on forget instead of the accuracy there: higher is better.

    The product, over the efficacy of `mia_svc` and the accuracies on retain and test, of 1 - |value - value of a
    retrained model|, in 0..1; the noise floor is its maximum. Interval as in `tug_of_war`. Raise ValueError as
    `mia_svc` does.
    """

    def parts(forget: Array, retain: Array, test: Array) -> dict[str, Estimate]:
        attack = mia_svc(forget, forget_labels, retain, retain_labels, test, test_labels, seed=seed)
        utility = {"retain": accuracy(retain, retain_labels), "test": accuracy(test, test_labels)}
        return {"forget": attack["_efficacy"], **utility}

    return composite.tug_of_war(
        parts(forget_logits, retain_logits, test_logits),
        parts(retrained_forget_logits, retrained_retain_logits, retrained_test_logits),
    )


@metric(
    source=_AGREEMENT,
    direction="raise",
    low=0,
    high=1,
    cost="three times `accuracy`, for each retrained model",
    caution=(
        "It has no sign: forgetting too much and too little lower it alike. The mean hides most: the digits' originals "
        "get 0.93 with it and 0.81 with the product, retrained models 0.985 and 0.955."
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
    """Measure how close the accuracies are to retraining, with each part: higher is better, up to the noise floor.

    AGL (agreement of logits) is the product, or the mean, of 1 - |accuracy - accuracy of a retrained model| over
    `_forget`, `_retain` and `_test`, in 0..1. Where whole classes are forgotten, `_test_forgotten` and `_test_retained`
    (the test samples of those classes, and of the others) replace `_test`. n counts samples.
    """
    labels = {"forget": forget_labels, "retain": retain_labels, "test": test_labels}
    unlearned = {"forget": forget_logits, "retain": retain_logits, "test": test_logits}
    retrained = {"forget": retrained_forget_logits, "retain": retrained_retain_logits, "test": retrained_test_logits}
    rows: dict[str, Ints] = {role: np.arange(len(values)) for role, values in labels.items()}
    forgotten = forgotten_classes(forget_labels, retain_labels)
    if len(forgotten):
        is_forgotten = np.isin(as_array(test_labels, name="labels", dtype=None), forgotten)
        del rows["test"]
        rows |= {"test_forgotten": np.flatnonzero(is_forgotten), "test_retained": np.flatnonzero(~is_forgotten)}
        if empty := [name for name, positions in rows.items() if not len(positions)]:
            raise ValueError(f"there is no sample of {empty[0]}")

    def accuracies(logits: dict[str, Array]) -> dict[str, float]:
        values = {}
        for name, positions in rows.items():
            role = name.split("_", 1)[0]
            values[name] = accuracy(take(logits[role], positions), take(labels[role], positions)).value
        return values

    agreement = composite.agl(accuracies(unlearned), accuracies(retrained), variant=variant)
    return _with_parts(agreement, sum(map(len, rows.values())))


@metric(
    source=_AGREEMENT,
    direction="raise",
    low=0,
    high=1,
    cost="nothing beyond its parts, `downstream_knn` and `downstream_cka_to_retrained`",
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
    """Measure how close features are to retraining on the downstream sets: higher is better, up to the noise floor.

    AGR (agreement of representations) is the product, or the mean, over all downstream sets of two parts, in 0..1:
    `_knn_<set>`, 1 - |k-NN accuracy - that of a retrained model|, and `_cka_<set>`, the CKA to it, where a value below
    0 counts as 0. n counts parts.
    """
    agreement = composite.agr(
        downstream_knn_values, retrained_downstream_knn_values, downstream_cka_to_retrained_values, variant=variant
    )
    return _with_parts(agreement, len(agreement.parts))


@metric(
    source=_AGREEMENT,
    direction="raise",
    low=0,
    high=1,
    cost="nothing beyond `agl` and `agr`",
    caution=(
        "It hides which of the two failed and follows the lower one, mostly the one with more parts: 0.95 and 0.35 "
        "give 0.51. Both are computed with default settings, whatever the experiment sets for them."
    ),
)
def h_lr(agl_values: float, agr_values: float) -> Estimate:
    """Measure how close logits and features are to retraining together: higher is better, up to the noise floor.

    H-LR is the harmonic mean of `agl` (logits) and `agr` (representations), in 0..1, and 0 where either is 0. Their
    parts are separate rows.
    """
    return Estimate(composite.h_lr(agl_values, agr_values), np.nan, np.nan, 2, _NO_INTERVAL)


def _with_parts(agreement: Agreement, n: int) -> dict[str, Estimate]:
    parts = {f"_{name.replace(' downstream-', ' ').replace(' ', '_')}": part for name, part in agreement.parts.items()}
    return {
        name: Estimate(value, np.nan, np.nan, n, _NO_INTERVAL) for name, value in {"": agreement.value, **parts}.items()
    }
