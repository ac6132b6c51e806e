"""What is left in the features: CKA, nearest neighbors, a linear probe, and drift by class.

The pure functions in one place; the evaluation's metrics on features are in `representation_metrics`.
"""

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from raybench.metrics.framework.arrays import Array, Floats, Ints
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.framework.tensors import as_class_labels, as_features
from raybench.metrics.functions.intervals import wilson


class ClassDrift(NamedTuple):
    """How far the features of each class moved; one entry a class, in ascending order."""

    classes: Floats
    counts: Ints
    cosine: Floats  # mean over samples of 1 - cosine to the reference's feature, 0..2; 1 where a feature is all zeros
    euclidean: Floats  # mean distance to the reference's feature over the mean norm of all reference features
    centroid: Floats  # distance of the class means, on the same scale: what is left of the drift after averaging


def linear_probe(
    train_features: Array,
    train_labels: Array,
    test_features: Array,
    test_labels: Array,
    *,
    inverse_regularization: float = 1.0,
    max_iterations: int = 1000,
) -> Estimate:
    """Return the accuracy on test features of a logistic regression fitted on train features, in 0..1; Wilson interval.

    Features are standardized by the training ones. Match the retrained models: a probe that finds the forgotten classes
    shows what a changed head hides. Deterministic. Raise ValueError for a single class or labels (N, L).
    """
    train, test = _numpy(train_features, "train features"), _numpy(test_features, "test features")
    given = as_class_labels(train_labels, len(train), name="train labels")
    wanted = as_class_labels(test_labels, len(test), name="test labels")
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"train has {train.shape[1]} features and test {test.shape[1]}")
    if len(np.unique(given)) < 2:
        raise ValueError("a linear probe needs at least two classes in its training labels")
    scaler = StandardScaler().fit(train)
    probe = LogisticRegression(C=inverse_regularization, max_iter=max_iterations)
    right = probe.fit(scaler.transform(train), given).predict(scaler.transform(test)) == wanted
    return wilson(int(right.sum()), len(right))


def class_drift(features: Array, reference_features: Array, labels: Array) -> ClassDrift:
    """Return the drift of features (N, D) from another model's (N, D) of the same samples, for each class.

    Both models must share one origin (the original and what was unlearned from it): between models of different seeds
    the axes do not correspond, use `cka`. Raise ValueError where all reference features are zero.
    """
    own, other = _numpy(features, "features"), _numpy(reference_features, "reference features")
    if own.shape != other.shape:
        raise ValueError(f"drift compares features of the same samples, got {own.shape} and {other.shape}")
    classes, index = np.unique(as_class_labels(labels, len(own)), return_inverse=True)
    counts = np.bincount(index)
    own_norms, norms = np.linalg.norm(own, axis=1), np.linalg.norm(other, axis=1)
    scale = float(norms.mean())
    if scale == 0:
        raise ValueError("all reference features are zero, so drift has no scale")
    lengths = own_norms * norms
    cosines = np.divide((own * other).sum(axis=1), lengths, out=np.zeros(len(own)), where=lengths > 0)
    order = np.argsort(index, kind="stable")
    shift = np.add.reduceat((own - other)[order], np.cumsum(counts) - counts)  # much faster than np.add.at
    return ClassDrift(
        classes,
        counts,
        np.bincount(index, weights=np.clip(1 - cosines, 0, 2)) / counts,
        np.bincount(index, weights=np.linalg.norm(own - other, axis=1)) / counts / scale,
        np.linalg.norm(shift / counts[:, None], axis=1) / scale,
    )


def _numpy(values: Array, name: str) -> Floats:
    return as_features(values, name=name).cpu().double().numpy()
