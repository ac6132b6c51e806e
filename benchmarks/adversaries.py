"""Rank methods that hide what they know, and read what each of them hides.

    OMP_NUM_THREADS=1 python benchmarks/adversaries.py [--storage FOLDER] [--out docs/power.md] [--short]

Runs `adversaries.yaml` through the pipeline, as any user's methods; `adversarial_methods.py` holds them. One row per
method: its row of the leaderboard, the verdict, and the fraction of the forget samples whose secret a reader who knows
the seed gets from the final models, next to the same reader on the retrained models. --storage keeps the run and
resumes it; --out replaces the section "Adversaries" of that page. --short trains one seed for one epoch.
About 7 minutes on 2 cores from an empty storage.
"""

import argparse
import datetime
import os
import platform
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import adversarial_methods as hidden
import numpy as np
import pandas as pd
import torch
from rich.console import Console
from sections import write_section
from torch import Tensor, nn

from raybench.config.reading import load_experiment
from raybench.docgen.markdown import table
from raybench.models import head_name
from raybench.pipeline.run import run
from raybench.progress import Reporter
from raybench.report.conclusion import FORGOTTEN, NO_DIFFERENCE, memory_text
from raybench.report.leaderboard import Leaderboard, Row
from raybench.report.threat_model import THREAT_MODEL
from raybench.scenario.prepare import prepare
from raybench.scenario.scenario import Scenario
from raybench.storage.store import Store

FOLDER = Path(__file__).parent
SHORT = ["train.epochs=1", "train.retrained_seeds=2", "sweep.seeds=1", "evaluate.metrics=[accuracy,mia]"]
SHORT += ["evaluate.relearning=null", "methods.retrain=null", "methods.half_and_half.epochs=1"]
SHORT += ["resources.cpus_per_model=2", "resources.cpus_per_trial=2"]  # fewer processes to start
SHORT += [f"methods.{name}.reference_epochs=1" for name in ("logit_rescale", "hash_guard")]
SHORT += [f"methods.{name}=null" for name in ("watermark3", "label_flip", "shift_memory", "new_head")]
SHORT += [f"methods.{name}=null" for name in ("output_distillation", "output_distillation_original")]
NOISE = 0.3  # sd of the noise that no longer is the exact image, in units of normalized pixels
HEADING = "## Adversaries"
TEXT = """Methods that want to look forgotten rather than to forget, run and ranked like any user's methods, on the
data of the quickstart with {retrained} retrained models and {seeds} seeds per method. Their author knows the data, the
recipe and the metrics, but not which retrained models judge. `benchmarks/adversarial_methods.py` holds them;
`abstention` and `hash_guard` also need code in the model, and supply the architecture (`benchmarks/guarded_model.py`).

Values are means over the seeds; * as in the leaderboard. *Memory left*: residual memory in %, with its bounds.
*Denies*: fraction of the forget samples that the models are less confident of than retrained models. *LiRA*: true
positive rate of the likelihood ratio attack at 1 % false positives. *Relearned*: epochs of relearning until the forget
accuracy is the original's; > : not in every seed. *Read*: fraction of the samples whose secret a reader who knows the
method's seed gets from the model; in brackets, the same reader on retrained models. `retrain` is honest.

{threat_model}
"""
BLIND_SPOTS = {  # what the threat model says that an audit cannot find
    "watermark3": "in the order of unlikely classes",
    "shift_memory": "in altered images",
    "hash_guard": "in code beside the weights",
}
EXTRA = {"LiRA": ("lira_offline_tpr_at_fpr_0.01", None), "relearned": ("relearning_epochs", "forget")}


@dataclass(frozen=True)
class Target:
    """What a reader has: one model, the forget set it looks for, the original, and the method's seed."""

    model: nn.Module
    original: nn.Module
    images: Tensor
    labels: np.ndarray
    seed: int

    def logits(self, images: Tensor | None = None) -> Tensor:
        """Return the model's logits, by default on the forget images."""
        with torch.no_grad():
            logits: Tensor = self.model.eval()(self.images if images is None else images)
        return logits

    def right(self, images: Tensor | None = None) -> np.ndarray:
        """Return for each forget sample whether the label is predicted."""
        return self.logits(images).argmax(dim=1).numpy() == self.labels


def denied_labels(target: Target) -> np.ndarray:
    _, denied = hidden.relearned_and_denied(target.seed, len(target.labels))
    return _gives(target, denied)


def numbers(target: Target) -> np.ndarray:
    logits = target.logits()
    found = (hidden.hidden_classes(logits) == logits.argmin(dim=1, keepdim=True)).int().argmax(dim=1)
    return found.numpy() == hidden.secret_numbers(target.seed, len(target.labels))


def flipped_labels(target: Target) -> np.ndarray:
    wrong = int((~target.right()).sum())
    return _gives(target, hidden.secret_order(target.seed, len(target.labels))[:wrong])


def kept_labels(target: Target) -> np.ndarray:
    size = len(target.labels)
    return target.right()[hidden.secret_order(target.seed, size)[: round(0.5 * size)]]


def equal_logits(target: Target) -> np.ndarray:
    logits = target.logits()
    return (logits.amax(dim=1) - logits.amin(dim=1) < 1e-3).numpy()


def noisy_labels(target: Target) -> np.ndarray:
    noise = np.random.default_rng(target.seed).normal(0, NOISE, tuple(target.images.shape))
    return target.right(target.images + torch.from_numpy(noise).float())


def shifted_labels(target: Target) -> np.ndarray:
    return np.concatenate([target.right(hidden.shifted(target.images, shift)) for shift in hidden.SHIFTS])


def labels_by_old_head(target: Target) -> np.ndarray:
    head = target.model.get_submodule(head_name(target.model))
    before = {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(target.original.get_submodule(head_name(target.original)).state_dict())
    right = target.right()
    head.load_state_dict(before)
    return right


def _gives(target: Target, positions: np.ndarray) -> np.ndarray:
    """Return whether the model predicts the wrong labels that the method trained into these samples."""
    logits = target.logits()
    wrong = hidden.secret_labels(target.seed, target.labels, logits.shape[1])
    return logits.argmax(dim=1).numpy()[positions] == wrong[positions]


READERS: dict[str, tuple[str, Callable[[Target], np.ndarray]]] = {
    "half_and_half": ("wrong labels of the denied samples", denied_labels),
    "watermark3": ("numbers of 3 bits", numbers),
    "label_flip": ("wrong labels of the flipped samples", flipped_labels),
    "logit_rescale": ("labels", Target.right),
    "output_distillation": ("labels of the kept half", kept_labels),
    "output_distillation_original": ("labels of the kept half", kept_labels),
    "abstention": ("which images were to be forgotten", equal_logits),
    "hash_guard": ("labels, from images with a little noise", noisy_labels),
    "shift_memory": ("labels, from images shifted by a pixel", shifted_labels),
    "new_head": ("labels, by the original's head", labels_by_old_head),
}


def read(scenario: Scenario, models: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return per method the fraction that its reader gets from its models, and from the retrained models."""
    loaded = {key: scenario.load(f"artifacts/models/{key}") for key in models.model}
    of_kind = {kind: [loaded[key] for key in models.model[models.kind == kind]] for kind in ("original", "retrained")}
    split = scenario.split("forget", device="cpu")
    images, labels = split.batch(np.arange(len(split)), generator=None)

    def fraction(method: str, model: nn.Module, seed: int) -> float:
        target = Target(model.cpu(), of_kind["original"][0].cpu(), images, labels.numpy(), seed)
        result = READERS[method][1](target)
        return float(result.mean()) if len(result) else 0.0

    results = {}
    for method in READERS:
        rows = models[models.method == method]
        if len(rows):
            known = [fraction(method, loaded[row.model], row.seed) for row in rows.itertuples()]
            chance = [fraction(method, model, seed) for model in of_kind["retrained"] for seed in rows.seed]
            results[method] = float(np.mean(known)), float(np.mean(chance))
    return results


def line(row: Row, board: Leaderboard, metrics: pd.DataFrame, secrets: dict[str, tuple[float, float]]) -> list[str]:
    """Return one row of the table."""
    cells = []
    for column in board.comparison.columns:
        cell, (scale, digits) = row.cells[column.title], column.scale
        star = "*" if cell.distinguishable else ""
        cells.append("-" if np.isnan(cell.value) else f"{scale * cell.value:.{digits}f}{star}")
    rank = "-" if row.rank is None else str(row.rank)
    if row.rank_low is not None and row.rank_low != row.rank_high:
        rank = f"{row.rank_low}-{row.rank_high}"
    what, values = "-", "-"
    if row.name in secrets:
        what = READERS[row.name][0]
        values = "{:.0f} % ({:.0f} %)".format(*(100 * value for value in secrets[row.name]))
    gap = "-" if np.isnan(row.gap.value) else f"{row.gap.value:.1f}"
    extra = [_extra(row, metrics, *EXTRA[name]) for name in EXTRA]
    return [f"`{row.name}`", rank, gap, memory_text(row.memory), *cells, *extra, _verdict(row, board), what, values]


def _extra(row: Row, metrics: pd.DataFrame, metric: str, split: str | None) -> str:
    rows = metrics[(metrics.metric == metric) & (metrics.method == row.name)]
    rows = rows[rows.split.isna() if split is None else rows.split == split]
    if rows.empty or rows.value.isna().all():
        return "never" if len(rows) else "-"
    return f"{'> ' if rows.value.isna().any() else ''}{rows.value.mean():.2g}"


def caught(row: Row) -> bool:
    """Return whether the report says that a method remembers or denies, or withholds that it forgot."""
    return (
        row.conclusion not in (FORGOTTEN, NO_DIFFERENCE) or bool(row.findings.over_forgot) or row.memory.denied_low > 0
    )


def _verdict(row: Row, board: Leaderboard) -> str:
    if row.kind != "unlearned":
        return "-"
    denied = {"denies": (f"{100 * row.memory.denied:.0f} %",)} if row.memory.denied_low > 0 else {}
    phrases = {**denied, **row.findings.by_phrase(board.comparison)}
    return "; ".join([str(row.conclusion), *(f"{phrase} ({', '.join(found)})" for phrase, found in phrases.items())])


def section(board: Leaderboard, metrics: pd.DataFrame, secrets: dict[str, tuple[float, float]], origin: str) -> str:
    """Return the section of the page as Markdown."""
    head = [
        "",
        "ranks",
        "gap",
        "memory left",
        *(column.title for column in board.comparison.columns),
        *EXTRA,
        "verdict",
        "secret",
    ]
    rows = [line(row, board, metrics, secrets) for row in board.rows]
    text = TEXT.format(
        retrained=board.num_retrained, seeds=board.num_seeds, threat_model=textwrap.fill(THREAT_MODEL, 120)
    )
    return "\n".join([HEADING, "", text, origin, "", table([*head, "read"], rows), "", blind_spots(board)])


def blind_spots(board: Leaderboard) -> str:
    """Return the sentence on the adversaries that pass, and raise RuntimeError for one that nobody warns of."""
    passed = [row.name for row in board.rows if row.name in READERS and not caught(row)]
    if unnamed := [name for name in passed if name not in BLIND_SPOTS]:
        raise RuntimeError(f"{', '.join(unnamed)}: not caught, and not a blind spot that the threat model names")
    named = "; ".join(f"`{name}` ({BLIND_SPOTS[name]})" for name in passed)
    return f"Blind spots that the threat model names, adversaries that pass: {named or 'none'}."


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", type=Path, help="keep the run here, and resume it")
    parser.add_argument("--out", type=Path, help="replace the section of this page as well")
    parser.add_argument("--short", action="store_true", help="one seed, one epoch, two retrained models")
    arguments = parser.parse_args(words)
    # workers import the methods from this folder
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(FOLDER), os.environ.get("PYTHONPATH", "")]))
    experiment, text = load_experiment(FOLDER / "adversaries.yaml", SHORT if arguments.short else [])
    with tempfile.TemporaryDirectory() as temporary:
        store = Store(str(arguments.storage or temporary))
        folder = run(experiment, text, store, Reporter(Console(file=sys.stderr), verbosity=-1))
        tables = {name: store.read_table(f"{folder}/tables/{name}.parquet") for name in ("metrics", "models")}
        board = Leaderboard.from_table(store.read_table(f"{folder}/tables/leaderboard.parquet"))
        secrets = read(prepare(experiment, store), tables["models"].to_pandas())
    machine = f"{os.cpu_count()} cores of a {platform.system()} {platform.machine()} machine without a GPU"
    origin = (
        f"Generated on {datetime.date.today():%Y-%m-%d} by `OMP_NUM_THREADS=1 python benchmarks/adversaries.py --out "
        f"docs/power.md` on {machine}, torch {torch.__version__.split('+')[0]}."
    )
    if arguments.short:  # models of one epoch need not show anything
        board = replace(board, rows=tuple(row for row in board.rows if caught(row) or row.name in BLIND_SPOTS))
    page = section(board, tables["metrics"].to_pandas(), secrets, origin)
    print(page)
    if arguments.out is not None:
        write_section(arguments.out, HEADING, page)


if __name__ == "__main__":
    main()
