"""What may be said of a method, from its residual memory: one word for the table and one sentence for the report.

- `forgotten`: equivalence. The upper bound of the residual memory is below the margin, and no column and no sample says
  otherwise.
- `remembers`: the lower bound of the residual memory is above 0, or a memory column is above the retrained models.
- `no difference`: neither. The sentence says how much could have been missed.
- `withheld`: too few retrained models, or an original that the evaluation cannot tell from them. Numbers are shown and
  nothing is said of forgetting.
"""

import math

from raybench.report.leaderboard import Findings, Memory

MIN_RETRAINED = 5  # with fewer, a model that keeps a quarter of the forget set often looks like a retrained model
MEASURABLE = 0.5  # one audit must detect at least this share of the original's memory
FORGOTTEN, REMEMBERS, NO_DIFFERENCE, WITHHELD, FAILED = "forgotten", "remembers", "no difference", "withheld", "failed"


def withheld(original: Memory, num_retrained: int, retraining: str, *, provided: bool = False) -> str | None:
    """Return why no verdict is given and what it needs, or None; `retraining` is the cost of one training run.

    `provided`: the retrained models are checkpoints of the user.
    """
    if 0 < num_retrained < MIN_RETRAINED and provided:
        return (
            f"{num_retrained} retrained model{'' if num_retrained == 1 else 's'}, and a verdict needs {MIN_RETRAINED}: "
            f"list {MIN_RETRAINED - num_retrained} more, trained alike on other seeds, in train.retrained.checkpoints"
        )
    if num_retrained < MIN_RETRAINED:
        cost = f" ({retraining} each)" if retraining else ""
        return (
            f"{num_retrained} retrained model{'' if num_retrained == 1 else 's'}, and a verdict needs {MIN_RETRAINED}: "
            f"train.retrained_seeds: 8 adds {8 - num_retrained} training runs{cost}"
        )
    if original.reason is not None:
        return original.reason
    if not (original.low > 0 and original.detectable <= MEASURABLE):
        return (
            "the original is hardly more confident of the forget samples than retrained models are "
            f"(an audit of one model detects {percent(original.detectable)} % of its memory at best): there is too "
            "little memory to measure. More forget samples or more retrained models help"
        )
    return None


def conclude(memory: Memory, findings: Findings, margin: float, *, measurable: bool) -> str:
    """Return the word for one method."""
    if not measurable or memory.reason is not None:
        return WITHHELD
    if memory.high < margin and not findings.remembers and not findings.not_measured:
        return FORGOTTEN
    if memory.low > 0 or findings.remembers:
        return REMEMBERS
    return NO_DIFFERENCE


def describe(memory: Memory, findings: Findings, conclusion: str) -> str:
    """Return what stands behind the word, for the list of the methods with the same word."""
    interval = f"[{percent(memory.low)}, {percent(memory.high)}]"
    if conclusion == FORGOTTEN:
        return f"at most {percent(memory.high)} % left"
    if conclusion == NO_DIFFERENCE:
        return f"could miss up to {percent(memory.high)} %"
    if conclusion == REMEMBERS and memory.low > 0:
        return f"about {percent(memory.value)} % {interval}"
    return f"{', '.join(findings.remembers)}; in confidence {percent(memory.value)} % {interval}"


def percent(share: float) -> str:
    """Format a share of the original's memory; noise may put it below 0 or above 1."""
    return f"{100 * min(max(share, 0.0), 1.0):.0f}"


def memory_text(memory: Memory) -> str:
    """Return the cell of the table: `23 % [12, 35]`, in percent of what originals remember."""
    if math.isnan(memory.value):
        return "-"
    return f"{percent(memory.value)} % [{percent(memory.low)}, {percent(memory.high)}]"
