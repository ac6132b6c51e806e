"""Similarity of features to the retrained models with a Gaussian kernel, which sees neighborhoods rather than axes."""

from raybench.metrics.framework.arrays import Array
from raybench.metrics.framework.spec import Estimate, metric
from raybench.metrics.functions.cka import Estimator, rbf_cka_estimate


@metric(
    source="Kornblith et al. 2019, arXiv 1905.00414; computed and discarded by the code of arXiv 2503.06991",
    direction="raise",
    low=-1,
    high=1,
    splits=("retain", "forget", "test", "downstream"),
    cost="samples^2 * width multiplications and several float64 arrays of samples^2; for each retrained model",
    caution=(
        "`sigma` decides what it measures: large values give linear CKA, small ones compare only nearest neighbors. "
        "10,000 samples take 4 GB."
    ),
    released=(
        "The code takes the biased estimate with sigma^2 = median of the squared distances (`estimator: biased`), and "
        "does not report it. Biased CKA is 0.18 instead of 0.00 for 500 unrelated features of width 64."
    ),
    on_request=True,
)
def cka_rbf_to_retrained(
    features: Array, retrained_features: Array, *, sigma: float | None = None, estimator: Estimator = "unbiased"
) -> Estimate:
    """Measure how similar neighborhoods in feature space are to retraining: higher is better, up to the noise floor.

    Centered kernel alignment (CKA) of features (N, D) with those of a retrained model, with the kernel exp(-d^2 / (2
    sigma^2)); 1 = equal up to rotation, shift and, without `sigma`, scale. `sigma` is in units of the features; without
    it sigma^2 is the median of the non-zero squared distances, for each model.

    Interval: jackknife over groups of samples, `sigma` fixed. Raise ValueError for sigma <= 0, constant features or
    fewer than 4 samples.
    """
    return rbf_cka_estimate(features, retrained_features, sigma=sigma, estimator=estimator)
