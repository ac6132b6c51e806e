"""The evidence of a run: what was asked, what was done, what was measured, and what that can and cannot show.

`evidence` is made of the tables and the manifest alone. The folder that is written holds the best method's model beside
it; `evidence.json` is written last, so a folder that has it is whole.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from raybench.report.anchor import Column
from raybench.report.evidence_page import page
from raybench.report.leaderboard import Leaderboard, findings
from raybench.report.leaderboard import Row as BoardRow
from raybench.storage.store import Store

VERSION = 1
COSTS = ("samples_forward", "samples_backward", "steps", "seconds", "relative_cost")
COUNTS = ("n", "gap_n", "samples_forward", "samples_backward", "steps")
CELLS = ("value", "low", "high", "n", "interval", "gap", "gap_low", "gap_high", "gap_n", "reason")

Found = dict[str, Any]


def evidence(
    name: str,
    board: Leaderboard,
    metrics: pd.DataFrame,
    models: pd.DataFrame,
    splits: pd.DataFrame,
    manifest: Mapping[str, Any],
) -> Found:
    """Return the evidence as plain values, about the leaderboard's best method and its first final seed.

    `done` and `measured` are None and empty where no method could be ranked.
    """
    asked = yaml.safe_load(manifest["experiment"]) or {}
    ids = sorted(splits.loc[splits.role == "forget", "id"].tolist())
    original = models[models.kind == "original"].iloc[0]
    given = manifest.get("checkpoint")
    num_retrained = int((models.kind == "retrained").sum())
    best = next((row for row in board.rows if row.kind == "unlearned" and not math.isnan(row.gap.value)), None)
    found: Found = {
        "evidence_version": VERSION,
        "run": name,
        "asked": {
            "forget": asked.get("forget"),
            "data": asked.get("data"),
            "model": asked.get("model"),
            "count": len(ids),
            "roles": {str(role): int(count) for role, count in splits.role.value_counts().items()},
            "ids": ids,
            "ids_sha256": hashlib.sha256(listed(ids)).hexdigest(),
        },
        "original": {"model": original.model, "checkpoint": given, "recipe": _json(original.recipe)},
        "num_retrained": num_retrained,
        "done": None,
        "measured": [],
        "shown": [],
        "findings": {},
        "verdict": board.verdict,
        "limits": limits(board, num_retrained, from_checkpoint=given is not None),
        "made_with": {key: manifest.get(key) for key in ("raybench", "python", "packages", "host", "git_commit")},
        "started": manifest.get("started"),
        "artifacts": manifest.get("artifacts"),
    }
    if best is None:
        return found
    own = models[(models.kind == "unlearned") & (models.method == best.name)].sort_values("seed").iloc[0]
    found["done"] = {
        "method": best.name,
        "hyperparameters": _json(own.hyperparameters),
        "seed": int(own.seed),
        "model": own.model,
        "status": own.status,
        "reason": _plain(own.reason),
        "cost": _cells(own, COSTS),
        "sweep": manifest.get("sweep"),
    }
    found["measured"] = [
        _cells(row, ("metric", "split", "setting", "protocol", "direction", *CELLS))
        for row in metrics[metrics.model == own.model].to_dict("records")
    ]
    found["shown"] = [_shown(column, board, metrics, own.model) for column in board.anchor.columns]
    found["findings"] = _findings(best, board)
    return found


def listed(ids: Sequence[int]) -> bytes:
    """Return the ids as the file `forget_ids.txt` holds them, one per line; its hash is that of the evidence."""
    return "".join(f"{i}\n" for i in ids).encode()


def limits(board: Leaderboard, num_retrained: int, *, from_checkpoint: bool) -> list[str]:
    """Return what the measurement cannot show, in sentences."""
    found = ["A difference smaller than the intervals would not be seen, and a stronger attack may see more."]
    if num_retrained == 0:
        found.append(
            "There is no retrained model, so nothing here says how a model that never saw these samples would behave. "
            "Forget samples are taken to be as hard as test samples; where they are easier or harder (a whole class, "
            "one person, wrong labels), the differences to the ideals show that too, and the two cannot be told apart."
        )
    elif num_retrained == 1:
        found.append(
            "There is one retrained model, so how much retrained models differ among themselves is not known: a gap "
            "may be chance between two trainings, and its absence too."
        )
    else:
        found.append(f"The comparison is with {num_retrained} retrained models, of the recipe that the run was given.")
    if from_checkpoint:
        found.append(
            "Which samples the given checkpoint was trained on is what the data set says, and is not checked here."
        )
        if num_retrained:
            found.append("Whether the given checkpoint was trained by the recipe of the retrained models is not known.")
    if not findings(next(row for row in board.rows if row.kind == "original"), board.anchor).get(
        board.anchor.remembers
    ):
        found.append(
            "No measure told that the original knew these samples: this audit says nothing about their being forgotten."
        )
    found.append(
        "Copies of the forgotten samples among those that were kept, and other models made from the original, were not "
        "looked at."
    )
    return found


def write_evidence(store: Store, name: str, found: Found, report: str) -> None:
    """Write `<run>/evidence/`: unlearned.pt, forget_ids.txt, evidence.md, report.md, and evidence.json last."""
    folder = f"{name}/evidence"
    last = f"{folder}/evidence.json"
    before = store.read_json(last).get("unlearned") if store.exists(last) else None
    store.delete(last)
    found = {**found, "unlearned": _keep_model(store, f"{folder}/unlearned.pt", found["done"], before)}
    store.write_bytes(f"{folder}/forget_ids.txt", listed(found["asked"]["ids"]))
    store.write_bytes(f"{folder}/report.md", report.encode())
    store.write_bytes(f"{folder}/evidence.md", page(found).encode())
    store.write_json(last, found)


def _keep_model(store: Store, target: str, done: Found | None, before: Found | None) -> Found:
    """Copy the best method's weights; not a link, since a person may write over a file of theirs."""
    if done is not None and before is not None and before.get("model") == done["model"] and store.exists(target):
        return before
    source = f"artifacts/models/{done['model']}.pt" if done is not None else None
    if source is None or not store.exists(source):
        store.delete(target)
        reason = "no method could be ranked" if source is None else "its weights are no longer in the store"
        return {"file": None, "reason": reason}
    assert done is not None
    content = store.read_bytes(source)
    store.write_bytes(target, content)
    digest = hashlib.sha256(content).hexdigest()
    return {"file": "unlearned.pt", "model": done["model"], "sha256": digest, "reason": None}


def _shown(column: Column, board: Leaderboard, metrics: pd.DataFrame, model: str) -> Found:
    """Return one line of the page: the unlearned model, the original, and what both are held against."""
    rows = metrics[metrics.metric == column.metric]
    rows = rows[rows.split.isna() if column.split is None else rows.split == column.split]
    if column.metric in ("cr", "memory_gap"):
        rows = rows[rows.setting == board.alpha]
    retrained = rows.loc[rows.kind == "retrained", "value"].dropna()
    mean = float(retrained.mean()) if len(retrained) else None
    anchor: float | str | None = mean if column.anchor == "retrained" else column.anchor
    return {
        "title": column.title,
        "metric": column.metric,
        "split": column.split,
        "percent": column.percent,
        "complement": column.complement,
        "unlearned": _estimate(rows[rows.model == model]),
        "original": _estimate(rows[rows.kind == "original"]),
        "anchor": anchor,
        "num_retrained": len(retrained),
    }


def _estimate(rows: pd.DataFrame) -> Found | None:
    return _cells(rows.iloc[0], ("value", "low", "high", "n", "reason")) if len(rows) else None


def _findings(best: BoardRow, board: Leaderboard) -> dict[str, list[str]]:
    """Return what is said of the method, and which columns say nothing against it."""
    said = findings(best, board.anchor) or {board.anchor.clean: []}
    within = [title for title, cell in best.cells.items() if not math.isnan(cell.gap) and not cell.outside]
    return {**said, board.anchor.within: within} if within else said


def _json(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else None


def _plain(value: Any) -> Any:
    """Return a cell of a table as JSON has it: no numpy, no NaN."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cells(row: Mapping[Any, Any], names: Sequence[str]) -> Found:
    """Return some cells of a row; counts come as floats where a column has gaps."""
    cells = {name: _plain(row[name]) for name in names if name in row}
    return {name: int(value) if name in COUNTS and value is not None else value for name, value in cells.items()}
