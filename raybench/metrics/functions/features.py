"""A linear probe on features, and the drift of features by class."""

from typing import NamedTuple

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats, Ints
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.framework.tensors import as_class_labels, as_features, divided, exponents, squares_overflow
from raybench.metrics.functions.intervals import wilson


class ClassDrift(NamedTuple):
    """How far the features of each class moved; one entry for each class, in ascending order."""

    classes: Floats
    counts: Ints
    cosine: Floats  # mean over samples of 1 - cosine to the reference feature, 0..2; 1 where one is all zeros
    euclidean: Floats  # mean distance to the reference feature over the mean norm of all reference features
    centroid: Floats  # distance of the class means, on the same scale


def linear_probe(
    train_features: Array,
    train_labels: Array,
    test_features: Array,
    test_labels: Array,
    *,
    inverse_regularization: float = 1.0,
    max_iterations: int = 1000,
) -> Estimate:
    """Compute the accuracy on test features of a logistic regression fitted on train features, in 0..1.

    Features are standardized with the training ones. Match the retrained models: a probe that recovers the forgotten
    classes shows what a changed head hides. Deterministic. Interval: Wilson. Raise ValueError for a single class or
    labels (N, L).
    """
    train, test = _in_range(train_features, "train features", test_features, "test features")
    classes = as_class_labels(train_labels, len(train), name="train labels")
    targets = as_class_labels(test_labels, len(test), name="test labels")
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"train has {train.shape[1]} features and test {test.shape[1]}")
    if len(np.unique(classes)) < 2:
        raise ValueError("a linear probe needs at least two classes in its training labels")
    from sklearn.linear_model import LogisticRegression  # late: most processes do not need a second of imports
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    probe = LogisticRegression(C=inverse_regularization, max_iter=max_iterations)
    correct = probe.fit(scaler.transform(train), classes).predict(scaler.transform(test)) == targets
    return wilson(int(correct.sum()), len(correct))


def class_drift(features: Array, reference_features: Array, labels: Array) -> ClassDrift:
    """Compute, for each class, how far features (N, D) moved from those of another model on the same samples.

    Both models must share their origin (the original and a model unlearned from it): between models of different seeds
    the axes do not correspond, so use `cka`. Raise ValueError where all reference features are zero.
    """
    reference, current = _in_range(reference_features, "reference features", features, "features")
    if current.shape != reference.shape:
        raise ValueError(f"drift compares features of the same samples, got {current.shape} and {reference.shape}")
    classes, index = np.unique(as_class_labels(labels, len(current)), return_inverse=True)
    counts = np.bincount(index)
    norms, reference_norms = np.linalg.norm(current, axis=1), np.linalg.norm(reference, axis=1)
    scale = float(reference_norms.mean())
    if scale == 0:
        raise ValueError("all reference features are zero, so drift has no scale")
    lengths = norms * reference_norms
    cosines = np.divide((current * reference).sum(axis=1), lengths, out=np.zeros(len(current)), where=lengths > 0)
    order = np.argsort(index, kind="stable")
    shift = np.add.reduceat((current - reference)[order], np.cumsum(counts) - counts)  # much faster than np.add.at
    return ClassDrift(
        classes,
        counts,
        np.bincount(index, weights=np.clip(1 - cosines, 0, 2)) / counts,
        np.bincount(index, weights=np.linalg.norm(current - reference, axis=1)) / counts / scale,
        np.linalg.norm(shift / counts[:, None], axis=1) / scale,
    )


def _in_range(first: Array, first_name: str, second: Array, second_name: str) -> tuple[Floats, Floats]:
    """Return both in float64; where squares of the first would overflow or vanish, both divided by a power of two."""
    sides = [as_features(first, name=first_name).double(), as_features(second, name=second_name).double()]
    largest = int(exponents(sides[0]).max())
    if squares_overflow(np.array([largest])):
        sides = [divided(side, largest) for side in sides]
    return sides[0].cpu().numpy(), sides[1].cpu().numpy()
