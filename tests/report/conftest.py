"""Tables of a made-up run, with the schemas and the gaps of a real one, for the tests of the report."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from raybench.report.build import build_leaderboard
from raybench.report.leaderboard import Leaderboard
from raybench.scoring.average_gap import average_gap_rows, ideal_gap_rows
from raybench.scoring.memory import Audits
from raybench.scoring.metric_rows import with_gaps
from raybench.storage import tables

# accuracy on forget, retain, test; attack AUC; CR, k-NN, CKA on forget
MEASURED = (
    ("accuracy", "forget", ""),
    ("accuracy", "retain", ""),
    ("accuracy", "test", ""),
    ("mia_auc", None, ""),
    ("cr", "forget", "alpha=0.1"),
    ("knn", "forget", ""),
    ("cka_to_retrained", "forget", ""),
)
RETRAINED = (
    (0.86, 0.990, 0.88, 0.53, 0.70, 0.85, 0.93),
    (0.88, 0.995, 0.90, 0.55, 0.72, 0.87, 0.94),
    (0.87, 0.992, 0.89, 0.52, 0.71, 0.84, 0.92),
    (0.89, 0.991, 0.87, 0.54, 0.69, 0.86, 0.93),
    (0.865, 0.993, 0.885, 0.535, 0.705, 0.845, 0.925),
    (0.885, 0.9915, 0.885, 0.535, 0.705, 0.865, 0.935),
)
HARD = 30  # of 200 forget samples, which only a model that was trained on them gets right
ORIGINAL = (1.00, 1.000, 0.89, 0.75, 0.90, 1.00, 0.80)


class Run(NamedTuple):
    """The four tables that the leaderboard reads."""

    metrics: pd.DataFrame
    models: pd.DataFrame
    trials: pd.DataFrame
    memory: pd.DataFrame

    def board(self) -> Leaderboard:
        return build_leaderboard(*self[:3], memory=self.memory)


def losses_of(models: Sequence[Mapping[str, Any]], accuracies: Mapping[str, float | None]) -> pd.DataFrame:
    """Return losses of models that get as many of the hard forget samples right as their accuracy says."""
    losses = []
    for number, model in enumerate(models):
        accuracy = accuracies[model["model"]]
        if accuracy is None:
            continue
        rng = np.random.default_rng(number)
        hard = np.arange(200) < HARD
        known = rng.random(200) < (accuracy - 0.875) / 0.125
        confidence = np.where(hard & ~known, -4.0, 6.0) + rng.normal(0, 1, 200)
        if accuracy < 0.5:
            confidence = rng.normal(-8, 1, 200)
        losses.append(pd.DataFrame({"model": model["model"], "id": range(200), "loss": np.log1p(np.exp(-confidence))}))
    return pd.concat(losses)


def memory_of(models: Sequence[Mapping[str, Any]], accuracies: Mapping[str, float | None]) -> pd.DataFrame:
    return tables.table("memory", Audits(models, losses_of(models, accuracies), None).memory_rows()).to_pandas()


@pytest.fixture(scope="session")
def made_up_losses() -> Callable[..., pd.DataFrame]:
    return losses_of


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Build a run from {method: values of each seed}; a method that failed has a reason in their place.

    `original`: the values of one original, or of several, from which the runs start in turn.
    """

    def build(
        methods: Mapping[str, Any],
        *,
        original: tuple[float, ...] | Sequence[tuple[float, ...]] = ORIGINAL,
        retrained: Any = RETRAINED,
        cost: float = 0.05,
    ) -> Run:
        metric_rows: list[dict[str, Any]] = []
        model_rows: list[dict[str, Any]] = []
        trial_rows: list[dict[str, Any]] = []

        forget_accuracy: dict[str, float | None] = {}
        originals = [original] if isinstance(original[0], float) else list(original)

        def add(kind: str, method: str, seed: int, values: tuple[Any, ...], share: float, start: int = 0) -> None:
            name = f"{method}-{seed}"
            identity = {"model": name, "name": name, "kind": kind, "method": method, "seed": seed, "original": start}
            function = method if kind == "unlearned" else None
            forget_accuracy[name] = values[0]
            recipe = "{}" if kind == "retrained" else None
            facts = {"function": function, "recipe": recipe, "relative_cost": share, "status": "finished"}
            model_rows.append({**identity, **facts})
            for (metric, split, setting), value in zip(MEASURED, values):
                row = {**identity, "metric": metric, "split": split, "setting": setting, "n": 100, "value": value}
                if value is None:
                    metric_rows.append({**row, "reason": "it diverged"})
                else:
                    metric_rows.append(
                        {**row, "low": value - 0.03, "high": value + 0.03, "interval": "clopper-pearson"}
                    )

        for number, values in enumerate(originals):
            add("original", "original", number, values, 1.2, number)
        for seed, values in enumerate(retrained):
            add("retrained", "retrained", seed + 1, values, 1.0)
        for method, seeds in methods.items():
            failed = isinstance(seeds, str)
            status = {"status": "failed", "reason": seeds} if failed else {"status": "finished"}
            trial_rows.append({"method": method, "trial": method, "phase": "search", "last": True, **status})
            for seed, values in enumerate([] if failed else seeds):
                add("unlearned", method, seed + 1, values, cost, seed % len(originals))
        rows = with_gaps(metric_rows)
        rows += average_gap_rows(rows)
        return Run(
            tables.table("metrics", rows).to_pandas(),
            tables.table("models", model_rows).to_pandas(),
            tables.table("trials", trial_rows).to_pandas(),
            memory_of(model_rows, forget_accuracy),
        )

    return build


@pytest.fixture(scope="session")
def without(make_run: Callable[..., Run]) -> Callable[..., Run]:
    """Build a run without retrained models, with the rows that the evaluation makes for it."""

    def make(methods: Mapping[str, Any], **options: Any) -> Run:
        run = make_run(methods, retrained=(), **options)
        rows = run.metrics.to_dict("records")
        for model in dict.fromkeys(run.metrics.model):
            own = {(row["metric"], row["split"]): row for row in rows if row["model"] == model}
            forget, test = own["accuracy", "forget"], own["accuracy", "test"]
            difference = forget["value"] - test["value"]
            for metric, setting in (("accuracy_gap", ""), ("memory_gap", "alpha=0.1"), ("memory_gap", "alpha=0.2")):
                value = difference / 2 if metric == "memory_gap" else difference
                cell = {"metric": metric, "split": None, "setting": setting, "value": value, "n": 200}
                rows.append({**forget, **cell, "low": value - 0.04, "high": value + 0.04})
        rows = [{key: None if value != value else value for key, value in row.items()} for row in rows]
        rows += ideal_gap_rows(rows)
        return run._replace(metrics=tables.table("metrics", rows).to_pandas())

    return make


@pytest.fixture(scope="session")
def full(make_run: Callable[..., Run]) -> Any:
    """Return a run with all tables, a failed method, and markup in a name, as `report.html` reads it."""
    import html_runs

    return html_runs.full(make_run)


@pytest.fixture(scope="session")
def page(full: Any) -> str:
    """Return `report.html` of the full run."""
    from raybench.report.html import as_html  # takes half a second: it imports matplotlib

    return as_html(full)


@pytest.fixture(scope="session")
def sixty_page(make_run: Callable[..., Run]) -> str:
    """Return `report.html` of a run with sixty methods."""
    import html_runs

    from raybench.report.html import as_html

    return as_html(html_runs.sixty(make_run))
