"""The pages of docs/metrics/: the modules of `raybench.metrics` on each page, in the order of the overview."""

from collections.abc import Callable
from dataclasses import dataclass

OTHER = "other"


@dataclass(frozen=True)
class Family:
    """One page of metrics: its title, when to read it, and the modules whose metrics are on it."""

    title: str
    summary: str
    modules: tuple[str, ...]


FAMILIES: dict[str, Family] = {
    "accuracy": Family(
        "Accuracy and error",
        "Whether the model still predicts well on retain and test samples, and how well it predicts forgotten ones.",
        ("accuracy", "class_forgetting", "per_class_accuracy", "regression"),
    ),
    "membership": Family(
        "Membership inference",
        "Whether an attack can separate forget samples from samples that the model never saw.",
        (
            "membership_inference",
            "class_thresholds",
            "likelihood",
            "lira_released",
            "retain_exposure",
            "miacr",
            "nomus",
        ),
    ),
    "forget_test_gap": Family(
        "Forget set compared with test set",
        "What can be measured without retrained models: the same model on forget and on test samples.",
        ("forget_test_gap",),
    ),
    "conformal": Family(
        "Conformal prediction",
        "Whether prediction sets calibrated on unseen samples still cover the labels of forget samples.",
        ("conformal", "class_wise_conformal"),
    ),
    "outputs": Family(
        "Distance between outputs",
        "How far the predictions are from those of the retrained models or of the original.",
        ("divergence",),
    ),
    "representation": Family(
        "Representation",
        "Whether the features below the classification head still hold what the head no longer shows.",
        ("representation", "kernel_cka", "features", "downstream"),
    ),
    "weights": Family(
        "Weights",
        "How far a method moved the weights. Weights alone do not show whether a model forgot.",
        ("weights",),
    ),
    "composite": Family(
        "Composite scores",
        "Several metrics in one number, as papers report them. Read the parts as well.",
        ("composite",),
    ),
}


def family_of(function: Callable[..., object]) -> str:
    """Return the page of a metric; one from a module that no family lists goes on the page `other`."""
    module = function.__module__.rsplit(".", 1)[-1]
    return next((page for page, family in FAMILIES.items() if module in family.modules), OTHER)
