"""Measure how well residual memory finds models that were trained on a known share of the forget set.

    OMP_NUM_THREADS=1 python benchmarks/residual_memory.py [--scenarios digits_random ...] [--data FOLDER]
        [--cache FOLDER] [--out docs/power.md] [--short]

For each scenario, models are trained on the retain set plus a random share (the dose) of the forget set. Many audits
are then drawn: some retrained models judge, some originals set the scale, and one further model is audited. --data is a
folder with `FashionMNIST/` and `lfw/`; scenarios whose images are not there are skipped. --cache keeps the losses of
the trained models. --out replaces the section "Residual memory" of that page. --short trains few models for one epoch.
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
from sections import write_section

from raybench.config.reading import load_experiment
from raybench.docgen.markdown import table
from raybench.engine.prediction import predict
from raybench.engine.training import train
from raybench.metrics.functions.residual_memory import residual_memory, scaled_confidence
from raybench.metrics.functions.signals import loss
from raybench.scenario.prepare import prepare
from raybench.scenario.scenario import Scenario
from raybench.storage.store import Store

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
HEADING = "## Residual memory"
DOSES = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
SEEDS = {0.0: 200, 0.05: 500, 0.1: 300, 0.25: 600, 0.5: 700, 1.0: 100}
REFERENCES = (3, 5, 8, 16)
AUDITS = 400


@dataclass(frozen=True)
class Case:
    """One scenario: its experiment, what is changed in it, and what the table calls it."""

    title: str
    experiment: str
    overrides: tuple[str, ...] = ()
    folder: str | None = None  # under --data


_SMALL_IMAGES = (
    "data.resize=14",
    "data.sizes={train: 1000, validation: 240, calibration: 200, test: 400, unseen: 400}",
    "forget={rule: random, count: 150}",
    "model={name: cnn, width: 16}",
    "train.epochs=40",
)
_FACES = ("data.mislabel={fraction: 0.1}", "data.view={size: 24}", "model={name: cnn, width: 16}", "train.epochs=50")
CASES = {
    "digits_random": Case("digits, 120 of 600 at random", "quickstart.yaml"),
    "digits_class": Case("digits, the class 3", "quickstart.yaml", ("forget={rule: class, classes: [3]}",)),
    "digits_clean": Case("digits, 120 of 600, no wrong labels", "quickstart.yaml", ("data.mislabel=null",)),
    "fashion_random": Case(
        "Fashion-MNIST, 150 of 1,000 at random", "fashion_mnist_random.yaml", _SMALL_IMAGES, "FashionMNIST"
    ),
    "lfw_random": Case(
        "LFW, 112 of 447 at random", "lfw_gender.yaml", ("forget={rule: random, fraction: 0.25}", *_FACES), "lfw"
    ),
    "lfw_identity": Case(
        "LFW, a quarter of the people",
        "lfw_gender.yaml",
        ("forget={rule: identity, fraction: 0.25, stratified: true}", *_FACES),
        "lfw",
    ),
}
TEXT = f"""How often an audit of one model finds what it was trained on. The audited models are trained on the retain
set and a random share of the forget set, the dose (of whole identities where these are forgotten). In each of
{AUDITS} audits per cell, retrained models and 5 originals are drawn, and one further model is audited with
`residual_memory` (its [definition](metrics.md)). A tenth of the labels is wrong except where stated; these samples
carry most of what a model can only memorize.

- **found**: the lower 95 % bound is above 0. At dose 0 this is the false alarm rate; at most 5 % are claimed.
- **reads**: mean and standard deviation of the value over audits, in %.
- **inside**: how often the dose lies between the two bounds. 90 to 95 % are claimed (5 % on either side).
- **forgotten**: the upper bound is below 10 %, the default margin. A verdict on a method uses all its runs, whose bound
  is lower: with 5 runs about half of that of one.

A class generalizes: a few of its samples teach a model much of what the original knows about it, so the share that a
model was trained on is no measure of what it remembers; only doses 0 and 100 % can be inside.
"""


def train_models(scenario: Scenario, *, retrained: int, originals: int, dosed: int) -> dict[str, np.ndarray]:
    """Train models of every dose; return their losses on the forget samples (models, N) by dose, and the units."""
    retain, forget = (scenario.splits().ids(role) for role in ("retain", "forget"))
    groups = scenario.data().groups
    units = groups[forget] if groups is not None and scenario.experiment.forget.rule == "identity" else forget
    split = scenario.split("forget")
    losses: dict[str, np.ndarray] = {"units": units}
    for dose in DOSES:
        rows = []
        for i in range({0.0: retrained, 1.0: originals}.get(dose, dosed)):
            kept = forget[_subset(units, dose, np.random.default_rng(i))]
            seed = SEEDS[dose] + i
            model = scenario.fresh(seed)
            samples = scenario.samples(np.sort(np.concatenate([retain, kept])), augment=True)
            train(model, samples, scenario.experiment.train.recipe, seed=seed)
            predictions = predict(model.eval(), split)
            rows.append(loss(predictions.logits, predictions.labels))
        losses[str(dose)] = np.stack(rows)
    return losses


def _subset(units: np.ndarray, dose: float, generator: np.random.Generator) -> np.ndarray:
    """Return which samples (N,) bool belong to a random share of the samples, in whole units."""
    order = generator.permutation(np.unique(units))
    sizes = np.cumsum([np.sum(units == unit) for unit in order])
    return np.isin(units, order[: np.searchsorted(sizes, round(dose * len(units)), side="right")])


def audit(losses: dict[str, np.ndarray], dose: float, *, retrained: int, audits: int, seed: int = 0) -> np.ndarray:
    """Return value, low and high of random audits of one model of this dose, (audits, 3)."""
    signals = {key: scaled_confidence(rows) for key, rows in losses.items() if key != "units"}
    none, all_of_it, audited = signals["0.0"], signals["1.0"], signals[str(dose)]
    originals, generator = min(5, len(all_of_it) - 1), np.random.default_rng(seed)
    results = []
    for _ in range(audits):
        judges, scale = (generator.permutation(len(rows)) for rows in (none, all_of_it))
        candidates = {0.0: judges[retrained:], 1.0: scale[originals:]}.get(dose, np.arange(len(audited)))
        model = audited[generator.choice(candidates)]
        result = residual_memory(model, none[judges[:retrained]], all_of_it[scale[:originals]], units=losses["units"])
        results.append((result.value, result.low, result.high))
    return np.array(results)


def lines(case: Case, losses: dict[str, np.ndarray], references: Sequence[int], audits: int) -> list[list[str]]:
    """Return the rows of the table for one scenario: one per number of retrained models and dose."""
    rows = []
    for retrained in references:
        if retrained >= len(losses["0.0"]):
            continue
        for dose in DOSES:
            value, low, high = audit(losses, dose, retrained=retrained, audits=audits).T
            inside = np.mean((low <= dose) & (dose <= high))
            rows.append(
                [
                    case.title,
                    str(retrained),
                    f"{100 * dose:g} %",
                    f"{100 * np.mean(low > 0):.0f} %",
                    f"{100 * value.mean():.0f} ± {100 * value.std():.0f}",
                    f"{100 * inside:.0f} %",
                    f"{100 * np.mean(high < 0.1):.0f} %",
                    str(len(losses[str(dose)])),
                ]
            )
    return rows


def _losses(name: str, case: Case, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    file = None if arguments.cache is None else arguments.cache / f"{name}.npz"
    if file is not None and file.exists():
        with np.load(file) as stored:
            return dict(stored)
    overrides = [*case.overrides, *(["train.epochs=1"] if arguments.short else [])]
    if case.folder is not None:
        overrides += [f"data.root={arguments.data / case.folder}"]
        overrides += ["data.download=false"] if case.folder == "FashionMNIST" else []
    experiment, _ = load_experiment(EXPERIMENTS / case.experiment, overrides)
    with tempfile.TemporaryDirectory() as folder:
        losses = train_models(
            prepare(experiment, Store(folder)),
            retrained=arguments.retrained,
            originals=arguments.originals,
            dosed=arguments.dosed,
        )
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, **losses)
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", nargs="+", choices=[*CASES], default=[*CASES])
    parser.add_argument("--data", type=Path, help="folder with FashionMNIST/ and lfw/")
    parser.add_argument("--retrained", type=int, default=24)
    parser.add_argument("--originals", type=int, default=8)
    parser.add_argument("--dosed", type=int, default=12, help="models of each dose between 0 and 100 %%")
    parser.add_argument("--cache", type=Path, help="keep the losses of the trained models here")
    parser.add_argument("--out", type=Path, help="write the section into this page as well")
    parser.add_argument("--short", action="store_true", help="few models, trained for one epoch")
    arguments = parser.parse_args()
    audits = AUDITS
    if arguments.short:
        arguments.retrained, arguments.originals, arguments.dosed, audits = 4, 2, 1, 2
        arguments.scenarios = ["digits_random"]
    torch.set_num_threads(1)
    started, rows = time.perf_counter(), []
    for name in arguments.scenarios:
        case = CASES[name]
        if case.folder is not None and (arguments.data is None or not (arguments.data / case.folder).exists()):
            print(f"{name}: skipped, --data has no folder {case.folder}")
            continue
        begun = time.perf_counter()
        try:
            rows += lines(case, _losses(name, case, arguments), REFERENCES, audits)
        except ValueError as error:  # models of one epoch need not remember anything
            print(f"{name}: {error}")
        print(f"{name}: {time.perf_counter() - begun:.0f} s")
    head = ["scenario", "retrained", "dose", "found", "reads", "inside", "forgotten", "models"]
    origin = (
        f"Generated on {datetime.date.today():%Y-%m-%d} by `OMP_NUM_THREADS=1 python benchmarks/residual_memory.py "
        f"--data DATA --out docs/power.md` on one core (of {os.cpu_count()}) of a {platform.system()} "
        f"{platform.machine()} machine, torch {torch.__version__.split('+')[0]}, in "
        f"{(time.perf_counter() - started) / 60:.0f} minutes. `models`: trained models of that dose, which the audits "
        "draw from and share, so a rate near 50 % is uncertain by 1 / (2 sqrt(models))."
    )
    text = "\n".join([HEADING, "", TEXT, origin, "", table(head, rows)])
    print(text)
    if arguments.out is not None:
        write_section(arguments.out, HEADING, text)


if __name__ == "__main__":
    main()
