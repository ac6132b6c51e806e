"""How well each metric tells a model that remembers from one that was retrained: power, false alarms, order.

    OMP_NUM_THREADS=1 python benchmarks/power.py [--originals 10] [--retrained 8] [--out docs/power.md]

Everything in one process on the quickstart's digits, without Ray. The question asked of each metric is the
leaderboard's: does this one model lie outside the 95 % prediction interval of the retrained models? The answer is known
for all models (`known_memory.py`), so that its share is power for those that remember and the rate of false alarms for
retrained ones, each of which is held against the others.
"""

import argparse
import datetime
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from known_memory import DENIED, SUBJECTS, TEMPERATURE, build, evaluate

from raybench.config.reading import load_experiment
from raybench.docgen.markdown import table
from raybench.scenario.prepare import prepare
from raybench.scoring import metric_rows
from raybench.storage.store import Store

QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.yaml"
TITLE = """# What each metric can see

How often each metric of the [evaluation](metrics.md) tells models apart whose memory of the forget set is known, on the
population of the quickstart: {retain} + {forget} digits to train on, {forget} of them to be forgotten.

- **original**: trained on all of them, {originals} seeds; **half**: retrained with a random half of the forget set;
  **retrained**: without any of it, {retrained} seeds.
- **poisoned**: the original, tuned on wrong labels of the forget set until it errs on {denied:.0f} % of
  them. It denies, it did not forget.
- **permuted**: the original with its channels reordered, the same function with other weights; **scaled**: the original
  with logits divided by {temperature:g}, the same answers with another confidence. Both remember all.

Fractions count the models that lie outside the 95 % prediction interval of the retrained models, and *high* or *low*
says on which side most of them are. For those that remember this is the metric's power; for retrained models, each held
against the others, it is the rate of false alarms, of which 5 % are to be expected. *AUC* is the chance that an
original's value lies above a retrained model's: 1 and 0 are perfect, 0.5 is blind. *Ordered*: the mean of the half lies
between those of retrained and original. A metric of utility (retain, test, unseen) need not tell them apart. The
fractions are coarse: {originals}/{originals} is compatible with a power of {least:.0f} %.
"""


@dataclass(frozen=True)
class Line:
    """One metric on one split: its values by kind of model, and how many of each lie outside."""

    metric: str
    split: str
    setting: str
    values: dict[str, np.ndarray]
    outside: dict[str, np.ndarray]  # of each model: -1 below the interval, 0 inside, 1 above
    auc: float

    @property
    def ordered(self) -> bool:
        low, middle, high = (self.values[kind].mean() for kind in ("retrained", "half", "original"))
        return bool(low < middle < high or low > middle > high)


def lines(rows: Sequence[metric_rows.Row]) -> tuple[list[Line], dict[str, str]]:
    """Return a line for each metric and split, and the reasons of the metrics that have no number."""
    cells: dict[tuple[str, str, str], list[metric_rows.Row]] = {}
    for row in rows:
        cells.setdefault((row["metric"], row["split"] or "", row["setting"]), []).append(row)
    found, silent = [], {}
    for (metric, split, setting), own in cells.items():
        values = {
            kind: np.array([r["value"] for r in once(own) if r["kind"] == kind and r.get("value") is not None])
            for kind in ("retrained", *SUBJECTS)
        }
        if not all(len(values[kind]) for kind in ("retrained", "half", "original")):
            silent[metric] = next((row["reason"] for row in own if row.get("reason")), "not defined for every model")
            continue
        outside = {
            kind: np.array([side(r) for r in once(own) if r["kind"] == kind and r.get("gap_low") is not None])
            for kind in values
        }
        found.append(Line(metric, split, setting, values, outside, _auc(own)))
    return found, silent


def side(row: metric_rows.Row) -> int:
    """Return 0 where the interval of the gap holds zero, else the sign of the gap."""
    return int(row["gap_low"] > 0) - int(row["gap_high"] < 0)


def once(rows: Sequence[metric_rows.Row]) -> list[metric_rows.Row]:
    """Return the rows without the repetitions of retrained models whose value does not depend on the original."""
    return list({(row["model"], row.get("value"), row.get("gap")): row for row in rows}.values())


def count(sides: np.ndarray) -> str:
    """Return how many models lie outside, out of how many, and where most of them do."""
    above, below = int((sides > 0).sum()), int((sides < 0).sum())
    where = "" if above == below else (" high" if above > below else " low")
    return f"{above + below}/{len(sides)}{where}"


def _auc(rows: Sequence[metric_rows.Row]) -> float:
    """Return how often an original's value is above that of a retrained model compared with the same original."""
    wins = [
        float(a["value"] > b["value"]) + float(a["value"] == b["value"]) / 2
        for a in rows
        if a["kind"] == "original" and a.get("value") is not None
        for b in rows
        if b["kind"] == "retrained" and b["against"] == a["against"] and b.get("value") is not None
    ]
    return float(np.mean(wins))


def page(found: Sequence[Line], silent: dict[str, str]) -> str:
    """Return the table in Markdown, with what has no number below it."""
    head = ["metric", "split", "mean retrained (sd)", "mean half", "mean original", "AUC"]
    head += [*(f"outside: {kind}" for kind in SUBJECTS), "false alarms", "ordered"]
    rows = []
    for line in found:
        reference = line.values["retrained"]
        setting = f" ({line.setting})" if line.setting else ""
        rows.append(
            [
                f"`{line.metric}`{setting}",
                line.split or "whole model",
                f"{number(reference.mean())} ({reference.std(ddof=1):.2g})",
                *(number(line.values[kind].mean()) for kind in ("half", "original")),
                f"{line.auc:.2f}",
                *(count(line.outside[kind]) for kind in (*SUBJECTS, "retrained")),
                "yes" if line.ordered else "no",
            ]
        )
    alarms = np.concatenate([line.outside["retrained"] != 0 for line in found])
    parts = [
        table(head, rows),
        f"False alarms over all rows: {alarms.sum()} of {len(alarms)} ({100 * alarms.mean():.1f} %; the rows share "
        "models).",
    ]
    if silent:
        parts.append("Without a number here:\n\n" + "\n".join(f"- `{name}`: {why}" for name, why in silent.items()))
    return "\n\n".join(parts)


def number(value: float) -> str:
    """Return three digits; what is 0 up to rounding is 0."""
    return f"{0 if abs(value) < 1e-12 else value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--originals", type=int, default=10, help="and as many of each kind that is made of them")
    parser.add_argument("--retrained", type=int, default=8)
    parser.add_argument("--out", type=Path, help="write the page here as well")
    given = parser.parse_args()
    if given.originals < 1 or given.retrained < 3:
        parser.error("at least 1 original, and 3 retrained models: each is held against an interval of the others")
    torch.set_num_threads(1)
    experiment, _ = load_experiment(QUICKSTART, [])
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        scenario = prepare(experiment, Store(folder))
        models = build(scenario, originals=given.originals, retrained=given.retrained)
        trained = time.perf_counter() - started
        rows = evaluate(
            scenario, models, metric_rows.chosen_metrics("all"), experiment.evaluate.alphas[:1], probe_epochs=50
        )
        sizes = scenario.splits().sizes()
    found, silent = lines(rows)
    known = {"temperature": TEMPERATURE, "denied": 100 * DENIED, "least": 100 * 0.025 ** (1 / given.originals)}
    title = TITLE.format(**vars(given), **sizes, **known)
    command = f"benchmarks/power.py --originals {given.originals} --retrained {given.retrained} --out docs/power.md"
    machine = f"one core (of {os.cpu_count()}) of a {platform.system()} {platform.machine()} machine without a GPU"
    made = (
        f"Made on {datetime.date.today():%Y-%m-%d} by `OMP_NUM_THREADS=1 python {command}` on {machine}, torch "
        f"{torch.__version__.split('+')[0]}, in {time.perf_counter() - started:.0f} s, of which {trained:.0f} s were "
        "training. Seeds: originals 100 and up, retrained 200 and up, half 300 and up; the rest, and the halves, 0 and "
        "up."
    )
    text = f"{title}\n{made}\n\n{page(found, silent)}\n"
    print(text)
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
