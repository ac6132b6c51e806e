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
        ("accuracy", "class_metrics", "top_2", "regression"),
    ),
    "membership": Family(
        "Membership inference",
        "Whether an attack can separate forget samples from samples that the model never saw.",
        ("nomus_metrics", "shadow_metrics", "likelihood_metrics"),
    ),
    "forget_test_gap": Family(
        "Forget set compared with test set",
        "What can be measured without retrained models: the same model on forget and on test samples.",
        ("unanchored",),
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
        ("representation_metrics", "feature_metrics", "downstream"),
    ),
    "weights": Family(
        "Weights",
        "How far a method moved the weights. Weights alone do not show whether a model forgot.",
        ("weight_metrics",),
    ),
    "composite": Family(
        "Composite scores",
        "Several metrics in one number, as papers report them. Read the parts as well.",
        ("agreement", "composite_metrics"),
    ),
}


def family_of(function: Callable[..., object]) -> str:
    """Return the page of a metric; one from a module that no family lists goes on the page `other`."""
    module = function.__module__.rsplit(".", 1)[-1]
    return next((page for page, family in FAMILIES.items() if module in family.modules), OTHER)
