"""Give a share of all samples a wrong label: noise that only memorization fits, for the audit to see."""

from dataclasses import replace

import numpy as np

from raybench.data.images import ImageData
from raybench.data.reading.order import seed_for, stratified_order
from raybench.errors import UserError


def mislabel(data: ImageData, fraction: float, seed: int) -> tuple[ImageData, np.ndarray]:
    """Return the data with `fraction` of its labels replaced by a uniformly drawn wrong one, and the ids, sorted.

    Samples are drawn from all parts and classes alike, so every role can have the same noise: a forget set noisier than
    the unseen one would be told from it by its labels alone. Single-label data only; `fraction` lies in [0, 1).
    """
    if data.task != "single":
        raise UserError("mislabel needs one class per sample; this dataset has several labels per sample")
    if data.num_classes < 2:
        raise UserError("mislabel needs at least two classes: there is no wrong label to give")
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < 1:
        raise UserError(f"mislabel: fraction is {fraction!r}; it should lie in [0, 1)")
    generator = np.random.default_rng(seed_for("mislabel", seed))
    order = stratified_order(data.labels * 2 + data.part, data.part, generator=generator)
    ids = np.sort(order[: round(fraction * data.num_samples)]).astype(np.int64)
    labels = np.array(data.labels)
    labels[ids] = (labels[ids] + generator.integers(1, data.num_classes, len(ids))) % data.num_classes
    return replace(data, labels=labels), ids
