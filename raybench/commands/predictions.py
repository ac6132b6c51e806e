"""What an experiment will be able to detect, predicted from its sizes before anything is trained.

Real power depends on how much models memorize and how much they differ, which nobody knows before a run; the report of
a run has the measured values. Predictions scale those of the quickstart (digits), and say so.
"""

import math
from collections.abc import Iterator

from scipy.special import ndtri, stdtrit

from raybench.metrics.functions.residual_memory import ERROR, LEVELS
from raybench.metrics.functions.statistics import minimum_detectable_difference
from raybench.report.comparison import comparison_for
from raybench.report.conclusion import MIN_RETRAINED, withheld
from raybench.report.leaderboard import Memory
from raybench.scenario.scenario import Scenario

POWER = 0.8
ACCURACY = 0.8  # of retrained models on forget samples, as on the quickstart; at 0.5 gaps are 25 % larger
BETWEEN_MODELS = 0.4  # part of the sampling variance that differs among models: 0.44 for UA, 0.23 for MIA AUC there
QUICKSTART = {"forget": 120, "retrained": 8, "detectable": 0.05}  # an audit of one model detects 5 % there


def prediction_lines(scenario: Scenario) -> Iterator[str]:
    """Yield what the run can detect: gaps, residual memory, and whether there will be verdicts."""
    sizes, experiment = scenario.splits().sizes(), scenario.experiment
    num_forget, num_unseen = sizes["forget"], sizes["unseen"]
    num_retrained, runs = len(experiment.train.seeds), experiment.sweep.seeds
    yield f"predicted    {_gaps(num_forget, num_unseen, num_retrained)}"
    if num_retrained < MIN_RETRAINED:
        cost = f"{experiment.train.retrained_recipe.epochs} epochs x {sizes['retain']} samples"
        yield f"predicted    no verdict on forgetting: {withheld(Memory(), num_retrained, cost)}"
    else:
        yield f"predicted    {_memory(num_forget, num_retrained, runs, experiment.evaluate.margin)}"
    if runs < 2:
        yield "predicted    one run per method (sweep.seeds): ranks will have no uncertainty"
    elif experiment.sweep.originals < 2:
        yield "predicted    one original (sweep.originals): ranks will hold for this original only"
    yield (
        "  predictions assume data on which models memorize and differ as on the quickstart's digits; the report has "
        "the measured power"
    )


def detectable_gaps(num_forget: int, num_unseen: int, num_retrained: int) -> tuple[float, float]:
    """Return the gaps of the accuracy on forget samples and of the attack's AUC that are detected with 80 % power.

    Both are fractions; above 1, nothing is detected. The test is that of the leaderboard: one further retrained model,
    Bonferroni-corrected over the columns; with one retrained model or none, the sampling error.
    """
    level = comparison_for(num_retrained).level
    accuracy = math.sqrt(ACCURACY * (1 - ACCURACY) / num_forget)
    auc = math.sqrt((num_forget + num_unseen + 1) / (12 * num_forget * num_unseen)) if num_unseen else math.inf
    if num_retrained < 2:
        factor = float(ndtri(1 - level / 2) + ndtri(POWER)) * math.sqrt(2 if num_retrained else 1)
        return factor * accuracy, factor * auc
    factor = math.sqrt(BETWEEN_MODELS) * minimum_detectable_difference(
        1.0, n_reference=num_retrained, alpha=level, power=POWER
    )
    return factor * accuracy, factor * auc


def memory_bounds(num_forget: int, num_retrained: int, runs: int) -> tuple[float, float]:
    """Return the residual memory that the runs of a method detect, and the upper bound where nothing is left.

    The standard deviation of an audit falls with the square root of the number of forget samples; the quickstart gives
    its size.
    """
    reference = _deviation(QUICKSTART["retrained"], 1) * _quantile(max(LEVELS.values()), QUICKSTART["retrained"])
    scale = QUICKSTART["detectable"] / reference * math.sqrt(QUICKSTART["forget"] / num_forget)
    deviation = scale * _deviation(num_retrained, runs)
    return (
        deviation * _quantile(max(LEVELS.values()), num_retrained),
        deviation * _quantile(ERROR, num_retrained),
    )


def _deviation(num_retrained: float, runs: int) -> float:
    return math.sqrt(1 / runs + 1 / num_retrained)


def _quantile(error: float, num_retrained: float) -> float:
    return float(stdtrit(2 * (num_retrained - 1), 1 - error))


def _gaps(num_forget: int, num_unseen: int, num_retrained: int) -> str:
    accuracy, auc = detectable_gaps(num_forget, num_unseen, num_retrained)
    parts = [f"UA below about {100 * accuracy:.0f} points" if accuracy < 1 else "UA of any size"]
    parts.append(f"MIA AUC below about {auc:.2f}" if auc < 0.5 else "MIA AUC of any size")
    models = f"{num_retrained} retrained model{'' if num_retrained == 1 else 's'}"
    return (
        f"gaps of {' and of '.join(parts)} may go undetected (80 % power; {models}, {num_forget} forget and "
        f"{num_unseen} unseen samples; one forget sample is {100 / num_forget:.2g} points)"
    )


def _memory(num_forget: int, num_retrained: int, runs: int, margin: float) -> str:
    detected, bound = memory_bounds(num_forget, num_retrained, runs)
    text = (
        f"residual memory: {runs} run{'' if runs == 1 else 's'} per method detect about {_percent(detected)} % of what "
        "the original remembers"
    )
    if bound < margin:
        return f"{text}; `forgotten` (less than {_percent(margin)} %) is within reach"
    needed = math.ceil(num_forget * (bound / margin) ** 2)
    return (
        f"{text}; `forgotten` (less than {_percent(margin)} %) is out of reach: a method without any memory gets an "
        f"upper bound of about {_percent(bound)} %. About {needed} forget samples are needed, or more runs "
        "(sweep.seeds) and retrained models"
    )


def _percent(share: float) -> str:
    return f"{100 * min(share, 1.0):.0f}"
