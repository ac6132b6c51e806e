"""The section on the worst case: how exposed the most exposed forget samples are before and after unlearning."""

import math

import pandas as pd

from raybench.report.table import markdown_table

SHOWN = 5  # samples listed per method
EXPOSED = 0.5
LEGEND = (
    "Exposure: the probability that a model was trained on a forget sample, given its confidence: posterior at a prior "
    "of 2 %, from the likelihood ratio between originals and retrained models, mean over the runs of a method. A mean "
    "over the forget set can hide that a few people are still known; every sample is in `tables/exposure.parquet`. The "
    "row of the retrained models shows what chance gives, each judged by the others."
)


def exposure_section(exposure: pd.DataFrame) -> str | None:
    """Return the section of `report.md` from the table `exposure`; None if nothing could be measured."""
    if exposure.empty:
        return None
    rows = []
    for method, samples in exposure.groupby("method", sort=False):
        worst = samples.sort_values("exposure", ascending=False, kind="stable")
        top = worst.exposure.head(max(1, math.ceil(len(worst) / 100)))
        listed = [f"{row.id} ({100 * row.exposure:.0f} %)" for row in worst.head(SHOWN).itertuples()]
        rows.append(
            [
                str(method),
                f"{int((samples.exposure >= EXPOSED).sum())} of {len(samples)}",
                f"{100 * top.mean():.0f} %",
                ", ".join(listed),
            ]
        )
    head = ["", "exposed by 50 % or more", "mean of the most exposed 1 %", "most exposed samples (id)"]
    return "\n\n".join([markdown_table(head, rows), LEGEND])
