"""Measure how often the ranks of the report contain the true ranks, with runs from one original and from several.

    OMP_NUM_THREADS=1 python benchmarks/ranking.py [--draws 1000] [--out docs/power.md] [--short]

The gap of a run is simulated as the true gap of its method, plus an effect of its original, plus noise of its seed. The
ranks are those of the report. --out replaces the section "Coverage of ranks" of that page, or appends it. --short takes
3 draws of each setting.
"""

import argparse
import datetime
import math
import platform
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from raybench.docgen.markdown import replace_section, table
from raybench.report import ranking

HEADING = "## Coverage of ranks"
TEXT = """How often the rank ranges of *all* methods contain the true ranks together, on simulated gaps. The report
claims 95 %: for the original of the run if there is one, over originals if there are several. The ranks over originals
are those of the mean gap over all originals that the recipe trains. *One original* starts all runs from one original;
*several* starts each run from its own original, which is the default (`sweep.originals`). In parentheses: the mean
number of ranks in a range, of {methods}. Below 90 % in bold. The largest standard error of a coverage is {error:.1f}
points.

The gap of a run in points is the true gap of its method + an effect of its original + noise of its seed, all normal.
The noise has a standard deviation (sd) of 0.2 to 2.1 among the methods; *sd* is that of the originals' effects, equal
or different among the methods. *Correlation*: between the effects of one original on two methods; pairing by original
removes what they share. True gaps: *different*, as in the quickstart ({gaps}), or all *equal*, where every statement
on an order is wrong. Where originals differ as much as here, 5 of them separate few methods; 8 separate more.
"""
BEST_TWO = """How often the line `best two` calls two methods distinguishable in the wrong order, of all draws. The
report claims at most 5 %.
"""
DIFFERENT = (1.2, 2.6, 5.4, 6.3, 7.5, 8.4, 9.4)
NOISE = np.linspace(0.2, 2.1, len(DIFFERENT))
RUNS = (3, 5, 8)
CLAIMED, UNCLAIMED, SEVERAL = (
    "one original: ranks for it",
    "one original: ranks over originals (not claimed)",
    "several originals: ranks over originals",
)


class Setting(NamedTuple):
    """True gaps (methods,), the range of the sd of the originals' effects, and their correlation between methods."""

    gaps: tuple[float, ...]
    low: float
    high: float
    correlation: float

    @property
    def label(self) -> list[str]:
        sd = f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"
        gaps = "different" if self.gaps == DIFFERENT else "equal"
        return [gaps, sd, f"{self.correlation:g}" if self.high else "-"]


SETTINGS = (
    Setting(DIFFERENT, 0, 0, 0),
    Setting(DIFFERENT, 1, 1, 0.5),
    Setting(DIFFERENT, 0, 4.8, 0),
    Setting(DIFFERENT, 0, 4.8, 0.5),
    Setting(DIFFERENT, 0, 4.8, 0.9),
    Setting((5.0,) * len(DIFFERENT), 0, 0, 0),
    Setting((5.0,) * len(DIFFERENT), 0, 4.8, 0.5),
)


class Outcome(NamedTuple):
    """Of one draw: whether all ranges contain the true ranks, their mean length, and whether `best two` is wrong."""

    covered: bool
    length: float
    wrong: bool


def draw(setting: Setting, runs: int, generator: np.random.Generator) -> dict[str, Outcome]:
    """Return the outcome of each design in one draw with that many runs per method."""
    methods = len(setting.gaps)
    true = np.array(setting.gaps)
    sd = generator.permutation(np.linspace(setting.low, setting.high, methods))[:, None]
    noise = generator.permutation(NOISE)[:, None] * generator.normal(size=(methods, runs))
    shared, own = generator.normal(size=runs), generator.normal(size=(methods, runs))
    effects = sd * (math.sqrt(setting.correlation) * shared + math.sqrt(1 - setting.correlation) * own)
    first = true + effects[:, 0]
    one, several = first[:, None] + noise, true[:, None] + effects + noise
    return {CLAIMED: judge(one, first), UNCLAIMED: judge(one, true), SEVERAL: judge(several, true)}


def judge(values: np.ndarray, true: np.ndarray) -> Outcome:
    """Compare what the report says of gaps (methods, runs) with the true gaps (methods,)."""
    gaps = pd.DataFrame(values, index=[str(number) for number in range(len(true))])
    ranges = ranking.rank_ranges(gaps)
    covered = all(
        low <= 1 + (true < true[int(name)]).sum() and high >= len(true) - (true > true[int(name)]).sum()
        for name, (low, high) in ranges.items()
    )
    length = float(np.mean([high - low + 1 for low, high in ranges.values()]))
    pair = ranking.best_two(gaps.loc[gaps.mean(axis=1).sort_values().index])
    wrong = pair is not None and pair.distinguishable and bool(true[int(pair.best)] >= true[int(pair.second)])
    return Outcome(covered, length, wrong)


def measure(setting: Setting, runs: int, draws: int, seed: int = 0) -> dict[str, tuple[float, float, float]]:
    """Return coverage, mean length of a range, and the rate of wrong `best two` lines of each design."""
    generator = np.random.default_rng(seed)
    outcomes = [draw(setting, runs, generator) for _ in range(draws)]
    return {
        design: tuple(np.mean([outcome[design] for outcome in outcomes], axis=0).tolist())  # type: ignore[misc]
        for design in (CLAIMED, UNCLAIMED, SEVERAL)
    }


def section(draws: int, origin: str, results: dict[tuple[Setting, int], dict[str, tuple[float, float, float]]]) -> str:
    """Return the section of the page as Markdown."""
    coverage, wrong = [], []
    for setting in SETTINGS:
        for design in (CLAIMED, UNCLAIMED, SEVERAL):
            cells = [results[setting, runs][design] for runs in RUNS]
            coverage.append([*setting.label, design, *(f"{_percent(c, 0.9)} ({length:.1f})" for c, length, _ in cells)])
            wrong.append([*setting.label, design, *(f"{100 * rate:.1f} %" for *_, rate in cells)])
    head = ["true gaps", "sd", "correlation", "design", *(f"{runs} runs" for runs in RUNS)]
    gaps = ", ".join(f"{gap:g}" for gap in DIFFERENT)
    text = TEXT.format(methods=len(DIFFERENT), gaps=gaps, error=50 / math.sqrt(draws))
    parts = [HEADING, text.rstrip(), origin, table(head, coverage), BEST_TWO.rstrip(), table(head, wrong)]
    return "\n\n".join(parts)


def _percent(fraction: float, least: float) -> str:
    text = f"{100 * fraction:.0f} %"
    return text if fraction >= least else f"**{text}**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="replace the section of this page as well")
    parser.add_argument("--short", action="store_true", help="3 draws of each setting")
    arguments = parser.parse_args()
    draws = 3 if arguments.short else arguments.draws
    started = time.perf_counter()
    results = {(setting, runs): measure(setting, runs, draws) for setting in SETTINGS for runs in RUNS}
    origin = (
        f"Generated on {datetime.date.today():%Y-%m-%d} by `OMP_NUM_THREADS=1 python benchmarks/ranking.py --draws "
        f"{draws} --out docs/power.md` on one core of a {platform.system()} {platform.machine()} machine in "
        f"{time.perf_counter() - started:.0f} s. Seed 0."
    )
    text = section(draws, origin, results)
    print(text)
    if arguments.out is not None:
        page = replace_section(arguments.out.read_text(encoding="utf-8"), text)
        arguments.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
