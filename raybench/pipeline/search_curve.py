"""How good the best of a search is after 1, 2, ... trials: shows whether more trials would help."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from raybench.engine.audit import DIRECTIONS, objective
from raybench.jobs.specs import SearchJob
from raybench.pipeline.results import Swept, Trained


def expected_best(values: Sequence[float], *, largest: bool = False) -> list[float]:
    """Return the expected best of 1..N trials: the mean, over all subsets of that size, of their smallest value.

    `values` are the N objectives, in any order; `largest` takes the largest. A value that is not finite (a failed
    trial) counts as the worst finite one. Formula: sum_i v_(i) C(N - i, t - 1) / C(N, t) with v_(1) the best, unbiased
    for trials that are drawn independently (Tang et al. 2020, "Showing Your Work Doesn't Always Work"). [] without a
    finite value.
    """
    signed = [-value if largest else value for value in values]
    finite = [value for value in signed if math.isfinite(value)]
    if not finite:
        return []
    ordered = np.sort([value if math.isfinite(value) else max(finite) for value in signed])
    n = len(ordered)
    sizes = np.arange(1, n + 1)
    weight, curve = sizes / n, np.zeros(n)  # of the best value, for every size of the subset
    for i, value in enumerate(ordered):
        curve += weight * value
        weight = weight * np.maximum(n - i - sizes, 0) / max(n - 1 - i, 1)
    return [float(-value if largest else value) for value in curve]


def search_rows(trained: Trained, swept: Swept) -> list[dict[str, Any]]:
    """Return the rows of the table `search`: per searched method the expected best objective after 1..N trials.

    Trials of an adaptive search depend on each other: such a method has one row, with all trials. A trial that did not
    finish counts as the worst one.
    """
    name = trained.scenario.experiment.sweep.objective
    target = trained.tuning_target(trained.original)
    rows: list[dict[str, Any]] = []
    for method, records in swept.search.items():
        if method not in swept.chosen:
            continue
        chosen = swept.chosen[method]
        again = [
            objective(name, run["audit"], trained.tuning_target(run["original"])) if run["audit"] else math.nan
            for run in swept.finalists.get(method, [])
            if run["setting"] == chosen["setting"]
        ]
        assert chosen["audit"] is not None  # only trials with an audit are chosen
        common = {
            "method": method,
            "objective": name,
            "chosen_value": objective(name, chosen["audit"], target),
            "chosen_again": math.fsum(again) / len(again) if again else None,
            "runs_again": len(again),
        }
        values = [
            objective(name, record["audit"], target) if record["audit"] and record["status"] == "finished" else math.nan
            for record in records
        ]
        curve = expected_best(values, largest=DIRECTIONS[name] == "max")
        adaptive = any(isinstance(job, SearchJob) for job in swept.planned[method])
        rows += [
            {**common, "trials": number, "expected_best": value}
            for number, value in enumerate(curve, start=1)
            if number == len(curve) or not adaptive
        ]
    return rows
