"""The average gap: the mean absolute difference between a model and its reference, in the metrics that rank models.

The sweep's objective, the rows `average_gap` and `gap_to_ideal`, and the distances of the leaderboard all use it.
"""

import numpy as np
from numpy.typing import ArrayLike


def mean_absolute_gap(gaps: ArrayLike) -> float:
    """Return the mean of |gap|, in the unit of the gaps; NaN if any gap is NaN."""
    return float(np.mean(np.abs(gaps)))


def average_gap_in_points(gaps: ArrayLike) -> float:
    """Return the mean of |gap| over gaps of fractions, in percentage points; lower is better.

    With the gaps of UA, RA, TA and MIA this is "Avg. Gap" of Jia et al. 2023 (arXiv 2304.04934) and SalUn (arXiv
    2310.12508).
    """
    return 100 * mean_absolute_gap(gaps)
