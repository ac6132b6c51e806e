"""The evidence of a run: the request, the method, the measurements, and what they can and cannot show.

`evidence` reads the leaderboard, the tables and the manifest only. `write_evidence` adds the model of the best method
and writes `evidence.json` last, so a folder that contains it is complete.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from raybench.report.comparison import PER_ALPHA, Column
from raybench.report.conclusion import FORGOTTEN, NO_DIFFERENCE, REMEMBERS, WITHHELD, describe
from raybench.report.evidence_page import page
from raybench.report.leaderboard import MEMORY, Leaderboard, Row
from raybench.report.plain_verdict import said_first, sentence
from raybench.report.threat_model import THREAT_MODEL
from raybench.report.verdict import validity, verdict
from raybench.storage.store import Store

VERSION = 3
CONCLUSIONS = (FORGOTTEN, NO_DIFFERENCE, WITHHELD, REMEMBERS)  # from best to worst
COSTS = ("samples_forward", "samples_backward", "steps", "seconds", "relative_cost")
COUNTS = ("n", "gap_n", "samples_forward", "samples_backward", "steps")
COMMITS = ("raybench_commit", "project_commit")
IDENTITY = ("metric", "split", "setting", "protocol", "direction")
NUMBERS = ("value", "low", "high", "n", "interval", "gap", "gap_low", "gap_high", "gap_n", "reason")

Evidence = dict[str, Any]


def evidence(
    name: str,
    board: Leaderboard,
    metrics: pd.DataFrame,
    models: pd.DataFrame,
    splits: pd.DataFrame,
    manifest: Mapping[str, Any],
) -> Evidence:
    """Return the evidence as plain values, for one method of the leaderboard and its first final seed.

    The method is the best-ranked of those with the best conclusion: one that remembers is taken only if all do.

    `unlearning` is None and `metrics` is empty if no method could be ranked.
    """
    experiment = yaml.safe_load(manifest["experiment"]) or {}
    ids = sorted(splits.loc[splits.role == "forget", "id"].tolist())
    best = min(board.ranked, key=lambda row: CONCLUSIONS.index(row.conclusion or WITHHELD), default=None)
    of_best = models[(models.kind == "unlearned") & (models.method == best.name)] if best is not None else models[:0]
    model = of_best.sort_values("seed").iloc[0] if len(of_best) else None
    originals = models[models.kind == "original"].set_index("original", drop=False)
    original = originals.loc[0 if model is None else int(model.original)]
    checkpoint = manifest.get("checkpoint")
    if files := (manifest.get("checkpoints") or {}).get("original"):
        checkpoint = files[int(original.original)]
    content: Evidence = {
        "evidence_version": VERSION,
        "run": name,
        "request": {
            "forget": experiment.get("forget"),
            "data": experiment.get("data"),
            "model": experiment.get("model"),
            "count": len(ids),
            "roles": {str(role): int(count) for role, count in splits.role.value_counts().items()},
            "ids": ids,
            "ids_sha256": hashlib.sha256(id_file(ids)).hexdigest(),
        },
        "original": {
            "model": original.model,
            "number": int(original.original),
            "seed": int(original.seed),
            "checkpoint": checkpoint,
            "recipe": _json(original.recipe),
        },
        "num_originals": len(originals),
        "num_retrained": board.num_retrained,
        "unlearning": None,
        "metrics": [],
        "table": [],
        "conclusion": None,
        "findings": {},
        "verdict": verdict(board),
        "validity": validity(board),
        "limits": limits(
            board,
            from_checkpoint=checkpoint is not None,
            retrained_files="retrained" in (manifest.get("checkpoints") or {}),
        ),
        "threat_model": THREAT_MODEL,
        "environment": {key: manifest.get(key) for key in ("raybench", "python", "packages", "host", *COMMITS)},
        "started": manifest.get("started"),
        "artifacts": manifest.get("artifacts"),
    }
    if best is None or model is None:
        return content
    content["unlearning"] = {
        "method": best.name,
        "hyperparameters": _json(model.hyperparameters),
        "seed": int(model.seed),
        "model": model.model,
        "status": model.status,
        "reason": _plain(model.reason),
        "cost": _plain_cells(model, COSTS),
        "sweep": manifest.get("sweep"),
        "checkpoint": _file_of(manifest, best.name, of_best.seed.min(), model.seed),
    }
    content["conclusion"] = {
        "verdict": best.conclusion,
        "text": _conclusion(best, board),
        "plain": [*said_first(board, best), *([] if _withheld(best, board) else [sentence(best)])],
        "memory": _memory(best),
    }
    rows = metrics[metrics.model == model.model].to_dict("records")
    content["metrics"] = [_plain_cells(row, (*IDENTITY, *NUMBERS)) for row in rows]
    pair = model.model, original.model
    content["table"] = [measurement(column, board, metrics, *pair) for column in board.comparison.columns]
    content["findings"] = _findings(best, board)
    return content


def _file_of(manifest: Mapping[str, Any], method: str, first_seed: int, seed: int) -> Any:
    """Return the file of the user that a model was read from, with its hash; None for a model that was unlearned."""
    files = (manifest.get("checkpoints") or {}).get(method)
    return files[int(seed - first_seed)] if files else None


def id_file(ids: Sequence[int]) -> bytes:
    """Return the content of `forget_ids.txt`, one id per line; the evidence has its hash."""
    return "".join(f"{i}\n" for i in ids).encode()


def limits(board: Leaderboard, *, from_checkpoint: bool, retrained_files: bool = False) -> list[str]:
    """Return what the measurements cannot show, one sentence or two each."""
    lines = ["Differences smaller than the intervals remain undetected, and a stronger attack may detect more."]
    if board.num_retrained == 0:
        lines.append(
            "There is no retrained model, so nothing here shows how a model behaves that was never trained on these "
            "samples. The ideals assume that forget samples are as hard as test samples. Where they are easier or "
            "harder (a whole class, one person, wrong labels), the differences to the ideals include that, and the two "
            "effects cannot be separated."
        )
    elif board.num_retrained == 1:
        lines.append(
            "There is one retrained model, so the differences among retrained models are unknown: a gap, or its "
            "absence, may be random."
        )
    else:
        recipe = "whose training was not verified" if retrained_files else "trained by the given recipe"
        lines.append(f"The comparison is with {board.num_retrained} retrained models, {recipe}.")
    if from_checkpoint:
        lines.append("The training samples of the given checkpoint are taken from the data set and were not verified.")
        if board.num_retrained:
            lines.append("Whether the given checkpoint was trained by the recipe of the retrained models is unknown.")
    if not board.original.findings.remembers:
        lines.append(
            "No column detects that the original was trained on these samples, so this evaluation says nothing about "
            "forgetting them."
        )
    lines.append(
        "Copies of the forgotten samples among the retained ones, and other models derived from the original, were not "
        "examined."
    )
    return lines


def write_evidence(store: Store, name: str, content: Evidence, report: str) -> None:
    """Write `<run>/evidence/`: unlearned.pt, forget_ids.txt, evidence.md, report.md, and evidence.json last."""
    folder = f"{name}/evidence"
    target = f"{folder}/evidence.json"
    previous = store.read_json(target).get("unlearned") if store.exists(target) else None
    store.delete(target)
    weights = _copy_weights(store, f"{folder}/unlearned.pt", content["unlearning"], previous)
    content = {**content, "unlearned": weights}
    store.write_bytes(f"{folder}/forget_ids.txt", id_file(content["request"]["ids"]))
    store.write_bytes(f"{folder}/report.md", report.encode())
    store.write_bytes(f"{folder}/evidence.md", page(content).encode())
    store.write_json(target, content)


def _copy_weights(store: Store, target: str, unlearning: Evidence | None, previous: Evidence | None) -> Evidence:
    """Copy the weights of the best method; a link would let users overwrite the artifact through it."""
    if unlearning is None:
        store.delete(target)
        return {"file": None, "reason": "no method could be ranked"}
    if (
        previous is not None
        and previous.get("model") == unlearning["model"]
        and _digest(store, target) == previous["sha256"]
    ):
        return previous
    source = f"artifacts/models/{unlearning['model']}.pt"
    if not store.exists(source):
        store.delete(target)
        return {"file": None, "reason": "its weights are no longer in the store"}
    weights = store.read_archive(source)
    store.write_bytes(target, weights)
    digest = hashlib.sha256(weights).hexdigest()
    return {"file": "unlearned.pt", "model": unlearning["model"], "sha256": digest, "reason": None}


def _digest(store: Store, key: str) -> str | None:
    return hashlib.sha256(store.read_bytes(key)).hexdigest() if store.exists(key) else None


def measurement(column: Column, board: Leaderboard, metrics: pd.DataFrame, model: str, original: str) -> Evidence:
    """Return one line of the page: the unlearned model, its original, and the reference of both."""
    rows = metrics[metrics.metric == column.metric]
    rows = rows[rows.split.isna() if column.split is None else rows.split == column.split]
    if column.metric in PER_ALPHA:
        rows = rows[rows.setting == board.alpha]
    retrained = rows.loc[rows.kind == "retrained", "value"].dropna()
    mean = float(retrained.mean()) if len(retrained) else None
    reference: float | str | None = mean if column.reference == "retrained" else column.reference
    return {
        "title": column.title,
        "metric": column.metric,
        "split": column.split,
        "percent": column.percent,
        "complement": column.complement,
        "unlearned": _estimate(rows[rows.model == model]),
        "original": _estimate(rows[rows.model == original]),
        "reference": reference,
        "num_retrained": len(retrained),
    }


def _estimate(rows: pd.DataFrame) -> Evidence | None:
    return _plain_cells(rows.iloc[0], ("value", "low", "high", "n", "reason")) if len(rows) else None


def _conclusion(best: Row, board: Leaderboard) -> str:
    return _withheld(best, board) or describe(best.memory, best.findings, str(best.conclusion))


def _withheld(best: Row, board: Leaderboard) -> str | None:
    return board.withheld or best.memory.reason


def _memory(best: Row) -> Evidence:
    """Return the residual memory with its bounds; 0 as retrained, 1 as the original."""
    return {name: _plain(getattr(best.memory, name)) for name in MEMORY}


def _findings(best: Row, board: Leaderboard) -> dict[str, list[str]]:
    """Return the findings of the best method, and the columns without one."""
    comparison = board.comparison
    findings = {phrase: list(titles) for phrase, titles in best.findings.by_phrase(comparison).items()}
    if best.passes:
        findings[comparison.passes] = []
    within = [t for t, cell in best.cells.items() if not math.isnan(cell.gap_low) and not cell.distinguishable]
    return {**findings, comparison.within: within} if within else findings


def _json(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else None


def _plain(value: Any) -> Any:
    """Convert a table cell to JSON: no numpy types, no NaN."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain_cells(row: Mapping[Any, Any] | pd.Series, names: Sequence[str]) -> Evidence:
    """Return some cells of a row; pandas reads counts as floats if the column has missing values."""
    cells = {name: _plain(row[name]) for name in names if name in row}
    return {name: int(value) if name in COUNTS and value is not None else value for name, value in cells.items()}
