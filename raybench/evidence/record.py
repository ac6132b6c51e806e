"""What `evidence.json` says, as plain values; the page and the README are rendered from it."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from raybench import __version__
from raybench.errors import UserError
from raybench.evidence.paths import without_paths
from raybench.evidence.tables import Outcome
from raybench.report.evidence import COMMITS, limits, measurement
from raybench.report.leaderboard import Leaderboard
from raybench.report.plain_verdict import verdict_of
from raybench.report.search import tuned_on
from raybench.report.threat_model import THREAT_MODEL
from raybench.report.verdict import validity

VERSION = 1
FORMAT = "raybench evidence"
RUN_COLUMNS = ("model", "seed", "original", "status")
OPTIONAL = {  # metrics that are computed only if they are named, and what was not tested without them
    "relearning": "How fast the model learns the forgotten samples again (metric relearning_epochs).",
    "population": "Populations of models, which bound an attacker who knows the method (evaluate.population).",
    "downstream": "Whether the features still help on related tasks (evaluate.downstream).",
}
Record = dict[str, Any]
Models = dict[str, dict[str, Any]]


def record_of(
    run: str,
    method: str,
    outcome: Outcome,
    frames: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    settings: Mapping[str, Any],
    request: Mapping[str, str],
) -> Record:
    """Return the record of a method; the hashes of models, images and files are added by `certify`.

    Raises UserError for a method without a verdict.
    """
    board, models = outcome.board, frames["models"]
    verdict = verdict_of(board, method)
    own = models[(models.kind == "unlearned") & (models.method == method) & (models.status != "failed")]
    own = own.sort_values(["seed", "original"])
    if own.empty:
        raise UserError(f"method {method!r} has no model to certify")
    originals = models[models.kind == "original"]
    first = own.iloc[0]
    experiment = yaml.safe_load(manifest["experiment"])
    checkpoint = manifest.get("checkpoint")
    record = {
        "format": FORMAT,
        "version": VERSION,
        "made_by": __version__,
        "request": dict(request),
        "run": run,
        "started": manifest["started"],
        "verdict": {**verdict, "runs": len(own), "models": _single(outcome, own)},
        "method": {
            "name": method,
            "function": _text(first.function),
            "hyperparameters": json.loads(_text(first.hyperparameters) or "{}"),
            "selection": _selection(manifest.get("sweep") or {}, method),
            "runs": [_cells(row, RUN_COLUMNS) for row in own.to_dict("records")],
            "reason": _text(first.reason),
        },
        "originals": [_cells(row, ("model", "seed", "original")) for row in originals.to_dict("records")],
        "checkpoint": checkpoint,
        "num_retrained": board.num_retrained,
        "forgotten": {
            "count": len(frames["forget"]),
            "rule": experiment.get("forget"),
            "data": experiment["data"]["dataset"],
            "data_key": Path(manifest["artifacts"]["data"]).name,
            "splits_key": Path(manifest["artifacts"]["splits"]).stem,
        },
        "architecture": experiment["model"]["name"],
        "measurements": measurements(board, frames, str(first.model)),
        "validity": validity(board),
        "limits": limits(board, from_checkpoint=checkpoint is not None),
        "not_tested": _not_tested(frames["metrics"]),
        "threat_model": THREAT_MODEL,
        "settings": dict(settings),
        "environment": {
            "run": {key: manifest.get(key) for key in ("raybench", *COMMITS, "python", "packages")},
            "certified_with": {"raybench": __version__, "python": platform.python_version()},
        },
    }
    cleaned: Record = without_paths(record)
    return cleaned


def _single(outcome: Outcome, own: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the residual memory of every single model of the method: audits of one model each."""
    by_model = outcome.single.set_index("model")
    rows = []
    for model in own.model:
        row = by_model.loc[model] if model in by_model.index else {}
        rows.append({"model": model, **{key: _number(row.get(key)) for key in ("value", "low", "high")}})
    return rows


def measurements(board: Leaderboard, frames: Mapping[str, pd.DataFrame], model: str) -> list[dict[str, Any]]:
    """Return the lines of the table of measurements: one model, its original, and the reference of both."""
    models = frames["models"]
    number = models.loc[models.model == model, "original"].iloc[0]
    original = models.loc[(models.kind == "original") & (models.original == number), "model"].iloc[0]
    return [measurement(column, board, frames["metrics"], model, original) for column in board.comparison.columns]


def _selection(sweep: Mapping[str, Any], method: str) -> str:
    if method not in sweep.get("searched", ()):
        return "Hyperparameters were given in the experiment; none was searched."
    return (
        f"Hyperparameters were selected by {sweep['objective']} among at most {sweep['trials']} settings, "
        f"{tuned_on(sweep)}."
    )


def _not_tested(metrics: pd.DataFrame) -> list[str]:
    """Return what this evidence does not cover, one sentence each."""
    names, kinds = set(metrics.metric), set(metrics.kind)
    downstream = metrics.split.dropna().str.startswith("downstream")
    tested = {
        "relearning": any(name.startswith("relearning") for name in names),
        "population": "population" in kinds,
        "downstream": bool(downstream.any()),
    }
    return [
        "Copies of the model, checkpoints of its training, backups, caches and logs.",
        "Copies and near-duplicates of the images to forget elsewhere in the training data, and other images of the "
        "same persons or objects.",
        "Models that were derived from the original before this request: distilled, fine-tuned, exported.",
        "Attacks that change the images, query the model adaptively, or know its training in detail.",
        *(text for name, text in OPTIONAL.items() if not tested[name]),
    ]


def _cells(row: Mapping[Any, Any], names: tuple[str, ...]) -> dict[str, Any]:
    cells = {name: row[name] for name in names}
    return {key: int(value) if key in ("seed", "original") else value for key, value in cells.items()}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
