"""KLoM (KL divergence of margins): how far the margins of unlearned models are from those of retrained ones.

Like every divergence between histograms of few models it is far from 0 for two halves of the retrained models: compare
it with that value at the same number of models, never with 0.
"""

import numpy as np

from raybench.metrics.framework.arrays import Array, Floats
from raybench.metrics.functions.model_signals import as_populations

_CLIP = 100.0


def klom(unlearned: Array, retrained: Array, *, bins: int = 20, floor: float = 1e-5) -> Floats:
    """Compute KL(unlearned || retrained) of scaled confidences (M, S) and (N, S), in nats, (S,); lower is better.

    Histograms of `bins` equal bins over the joint range of the sample, both ends included (released code drops the
    largest value), signals clipped to +-100. Where a bin has an unlearned but no retrained model, its frequency is
    `floor`, so the largest value is about ln(1 / floor) = 11.5. Reference: Georgiev et al. 2024, arXiv 2410.23232,
    appendix E.1.
    """
    if bins < 1 or not 0 < floor < 1:
        raise ValueError(f"bins must be at least 1 and floor in 0..1, got {bins} and {floor}")
    u, r = (np.clip(side, -_CLIP, _CLIP) for side in as_populations(unlearned, retrained, least=1))
    low, high = np.minimum(u.min(axis=0), r.min(axis=0)), np.maximum(u.max(axis=0), r.max(axis=0))
    edges = np.linspace(low, np.where(high > low, high, low + 1), bins + 1)
    p, q = _frequencies(u, edges), _frequencies(r, edges)
    q = np.where(p > 0, np.maximum(q, floor), q)
    q /= q.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0)
    divergences: Floats = np.maximum(terms.sum(axis=0), 0.0)
    return divergences


def _frequencies(values: Floats, edges: Floats) -> Floats:
    at_least = np.stack([(values >= edge).sum(axis=0) for edge in edges[:-1]] + [np.zeros(values.shape[1], dtype=int)])
    return -np.diff(at_least, axis=0) / len(values)
