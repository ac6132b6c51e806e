"""Assign wrong labels to a fraction of all samples: label noise that a model can fit only by memorizing it."""

from dataclasses import replace

import numpy as np

from raybench.data.images import ImageData
from raybench.data.reading.order import seed_for, stratified_order
from raybench.errors import UserError


def mislabel(data: ImageData, fraction: float, seed: int) -> tuple[ImageData, np.ndarray]:
    """Replace a `fraction` of the labels by a uniformly drawn wrong class; return the data and the ids, sorted.

    The draw is stratified by class and official split, so that every role has the same noise level; otherwise an attack
    could separate forget from unseen samples by their labels alone. Single-label data only; `fraction` lies in [0, 1).
    """
    if data.task != "single":
        raise UserError("mislabel needs one class per sample; this dataset has several labels per sample")
    if data.num_classes < 2:
        raise UserError("mislabel needs at least two classes; with one there is no wrong label")
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < 1:
        raise UserError(f"mislabel: fraction is {fraction!r}; it should lie in [0, 1)")
    generator = np.random.default_rng(seed_for("mislabel", seed))
    order = stratified_order(data.labels * 2 + data.part, data.part, generator=generator)
    ids = np.sort(order[: round(fraction * data.num_samples)]).astype(np.int64)
    labels = np.array(data.labels)
    labels[ids] = (labels[ids] + generator.integers(1, data.num_classes, len(ids))) % data.num_classes
    return replace(data, labels=labels), ids
