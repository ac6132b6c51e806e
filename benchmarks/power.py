"""Measure each metric's power, false alarms and order on models whose memory of the forget set is known.

    OMP_NUM_THREADS=1 python benchmarks/power.py [--originals 10] [--retrained 8] [--out docs/power.md] [--short]

Everything runs in one process on the quickstart's digits, without Ray. The test is the leaderboard's: does one model
lie outside the 95 % prediction interval of the retrained models? The answer is known for every model
(`known_memory.py`). The fraction outside is therefore the power for models that remember, and the false alarm rate for
retrained models, each of which is compared with the others. --short trains few models for one epoch.
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
from coverage import HEADING
from known_memory import DENIED, SUBJECTS, TEMPERATURE, build, evaluate

from raybench.config.reading import load_experiment
from raybench.docgen.markdown import table
from raybench.scenario.prepare import prepare
from raybench.scoring import metric_rows
from raybench.storage.store import Store

QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.yaml"
TITLE = """# What each metric can detect

How often each metric of the [evaluation](metrics.md) detects what a model remembers, measured on models whose memory of
the forget set is known. The data are those of the quickstart: {retain} + {forget} digits to train on, {forget} of them
to be forgotten.

- **original**: trained on all samples, {originals} seeds.
- **half**: retrained with a random half of the forget set, {originals} seeds.
- **retrained**: trained without the forget set, {retrained} seeds.
- **poisoned**: the original, fine-tuned on wrong labels of the forget set until it misclassifies {denied:.0f} % of it.
  It predicts wrong labels but still remembers.
- **permuted**: the original with its channels reordered: the same function with other weights. It remembers everything.
- **scaled**: the original with logits divided by {temperature:g}: the same predictions with another confidence. It
  remembers everything.

A fraction such as 10/10 counts the models outside the 95 % prediction interval of the retrained models; *high* or *low*
is the side on which most of them lie. For models that remember, this fraction is the metric's power. For retrained
models, each compared with the others, it is the false alarm rate; 5 % are expected. *AUC* is the probability that an
original's value lies above a retrained model's: 1 and 0 are perfect, 0.5 is chance. *Ordered*: the mean of *half* lies
between the means of *retrained* and *original*. A utility metric (on retain, test or unseen samples) need not separate
the models. The fractions are coarse: {originals}/{originals} is compatible with a power of {least:.0f} %.

Abbreviations in the metric ids: `agl` agreement in accuracy with a retrained model, `cka` centered kernel alignment,
`cr` conformal ratio, `js` Jensen-Shannon divergence, `kl` Kullback-Leibler divergence, `knn` k-nearest-neighbor
accuracy, `lira` likelihood ratio attack, `mia` membership inference attack, `miacr` fraction of forget samples whose
conformal set is {{non-member}}, `nomus` normalized machine unlearning score, `rmia` robust membership inference attack,
`svc` support vector classifier, `tpr_at_fpr` true positive rate at a false positive rate, `zrf` zero retrain
forgetting score.
"""


@dataclass(frozen=True)
class Line:
    """One metric on one split: its values by kind of model, and which of them lie outside the interval."""

    metric: str
    split: str
    setting: str
    values: dict[str, np.ndarray]
    outside: dict[str, np.ndarray]  # per model: -1 below the interval, 0 inside, 1 above
    auc: float

    @property
    def ordered(self) -> bool:
        low, middle, high = (self.values[kind].mean() for kind in ("retrained", "half", "original"))
        return bool(low < middle < high or low > middle > high)


def lines(rows: Sequence[metric_rows.Row]) -> tuple[list[Line], dict[str, str]]:
    """Return a line for each metric and split, and why the remaining metrics have no value."""
    cells: dict[tuple[str, str, str], list[metric_rows.Row]] = {}
    for row in rows:
        cells.setdefault((row["metric"], row["split"] or "", row["setting"]), []).append(row)
    results, without_value = [], {}
    for (metric, split, setting), group in cells.items():
        values = {
            kind: np.array([r["value"] for r in distinct(group) if r["kind"] == kind and r.get("value") is not None])
            for kind in ("retrained", *SUBJECTS)
        }
        if not all(len(values[kind]) for kind in ("retrained", "half", "original")):
            without_value[metric] = next(
                (row["reason"] for row in group if row.get("reason")), "not defined for every model"
            )
            continue
        outside = {
            kind: np.array([side(r) for r in distinct(group) if r["kind"] == kind and r.get("gap_low") is not None])
            for kind in values
        }
        results.append(Line(metric, split, setting, values, outside, _auc(group)))
    return results, without_value


def side(row: metric_rows.Row) -> int:
    """Return 0 if the interval of the gap contains zero, else the sign of the gap."""
    return int(row["gap_low"] > 0) - int(row["gap_high"] < 0)


def distinct(rows: Sequence[metric_rows.Row]) -> list[metric_rows.Row]:
    """Drop the repeated rows of retrained models whose value does not depend on the original."""
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


def page(results: Sequence[Line], without_value: dict[str, str]) -> str:
    """Return the table in Markdown, followed by the metrics without a value."""
    head = ["metric", "split", "mean retrained (sd)", "mean half", "mean original", "AUC"]
    head += [*(f"outside: {kind}" for kind in SUBJECTS), "false alarms", "ordered"]
    rows = []
    for line in results:
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
    alarms = np.concatenate([line.outside["retrained"] != 0 for line in results])
    parts = [
        table(head, rows),
        f"False alarms over all rows: {alarms.sum()} of {len(alarms)} ({100 * alarms.mean():.1f} %; the rows share "
        "models).",
    ]
    if without_value:
        parts.append("No value here:\n\n" + "\n".join(f"- `{name}`: {why}" for name, why in without_value.items()))
    return "\n\n".join(parts)


def number(value: float) -> str:
    """Format with three significant digits; rounding errors around 0 become 0."""
    return f"{0 if abs(value) < 1e-12 else value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--originals", type=int, default=10, help="and as many of each kind derived from them")
    parser.add_argument("--retrained", type=int, default=8)
    parser.add_argument("--out", type=Path, help="write the page here as well")
    parser.add_argument("--short", action="store_true", help="few models, trained for one epoch")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.originals, arguments.retrained = 1, 3
    if arguments.originals < 1 or arguments.retrained < 3:
        parser.error("at least 1 original, and 3 retrained models: each is compared with an interval of the others")
    torch.set_num_threads(1)
    experiment, _ = load_experiment(QUICKSTART, ["train.epochs=1"] if arguments.short else [])
    probe_epochs = 2 if arguments.short else 50
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        scenario = prepare(experiment, Store(folder))
        models = build(scenario, originals=arguments.originals, retrained=arguments.retrained)
        trained = time.perf_counter() - started
        rows = evaluate(
            scenario,
            models,
            metric_rows.chosen_metrics("all"),
            experiment.evaluate.alphas[:1],
            probe_epochs=probe_epochs,
        )
        sizes = scenario.splits().sizes()
    results, without_value = lines(rows)
    known = {"temperature": TEMPERATURE, "denied": 100 * DENIED, "least": 100 * 0.025 ** (1 / arguments.originals)}
    title = TITLE.format(**vars(arguments), **sizes, **known)
    command = (
        f"benchmarks/power.py --originals {arguments.originals} --retrained {arguments.retrained} --out docs/power.md"
    )
    machine = f"one core (of {os.cpu_count()}) of a {platform.system()} {platform.machine()} machine without a GPU"
    origin = (
        f"Generated on {datetime.date.today():%Y-%m-%d} by `OMP_NUM_THREADS=1 python {command}` on {machine}, torch "
        f"{torch.__version__.split('+')[0]}, in {time.perf_counter() - started:.0f} s, of which training took "
        f"{trained:.0f} s. Seeds: originals from 100, retrained from 200, half from 300; derived models and the random "
        "halves from 0."
    )
    text = f"{title}\n{origin}\n\n{page(results, without_value)}\n"
    print(text)
    if arguments.out is not None:
        if arguments.out.exists():  # the sections of other benchmarks stay
            _, heading, rest = arguments.out.read_text(encoding="utf-8").partition(HEADING)
            text += f"\n{heading}{rest}" if heading else ""
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
