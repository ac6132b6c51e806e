"""What a comparison reads of a run: its leaderboard, its settings, and fingerprints of its data, samples and models."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml

from raybench.errors import UserError
from raybench.report.leaderboard import Leaderboard
from raybench.report.stored import read_run_table
from raybench.storage.store import Store
from raybench.storage.tables import VERSION

Resolve = Callable[[str], Mapping[str, Any]]
"""Returns the settings of an experiment's text with all defaults; raises UserError if it cannot be read any more."""


class NotComparable(UserError):
    """A run that cannot be shown beside others, with the reason."""


@dataclass(frozen=True)
class MethodRuns:
    """The setting of a method in one run, and the ids of its models."""

    hyperparameters: Mapping[str, Any]
    models: frozenset[str]


@dataclass(frozen=True)
class RunSummary:
    """One run of a comparison."""

    name: str
    started: str
    board: Leaderboard
    settings: Mapping[str, Any]  # by dotted key, "model.width"
    fingerprints: Mapping[str, str]  # of what decides the scenario and no setting tells for sure: data, roles, ...
    sizes: Mapping[str, int]  # samples of each role
    references: Mapping[tuple[str, int], str]  # id of the original and retrained model trained from a seed
    methods: Mapping[str, MethodRuns]
    searched: frozenset[str]  # methods whose hyperparameters were searched
    facts: Mapping[str, str]  # shown and not compared: version, commit

    @property
    def date(self) -> str:
        return self.started[:10]


def read_summary(store: Store, run: str, resolve: Resolve) -> RunSummary:
    """Read the summary of a run; raise NotComparable for a run that is not finished, or that another version wrote."""
    for key, hint in (
        ("manifest.json", "it has no manifest"),
        ("tables/metrics.parquet", "it is not evaluated yet: run its experiment again to finish it"),
        ("tables/leaderboard.parquet", f"it has no leaderboard yet: `raybench report {run}` writes it"),
    ):
        if not store.exists(f"{run}/{key}"):
            raise NotComparable(hint)
        if key == "manifest.json":
            manifest = store.read_json(f"{run}/{key}")
            if (schema := str(manifest.get("schema_version"))) != VERSION:
                raise NotComparable(f"its tables have schema {schema}, and this version reads schema {VERSION}")
    try:
        board = Leaderboard.from_table(read_run_table(store, run, "leaderboard"))
    except (KeyError, TypeError) as error:  # its metadata have other fields
        raise NotComparable(
            f"another version wrote its leaderboard: `raybench report {run}` writes it again"
        ) from error
    models = read_run_table(store, run, "models").to_pandas()
    splits = read_run_table(store, run, "splits").select(["id", "role"]).to_pandas()
    trained = models[models.kind != "unlearned"]
    return RunSummary(
        run,
        str(manifest.get("started", "")),
        board,
        dict(_flat(_settings(manifest, resolve))),
        _fingerprints(manifest, splits),
        splits.role.value_counts().to_dict(),
        {(row.kind, int(row.seed)): row.model for row in trained.itertuples() if not pd.isna(row.seed)},
        {str(name): _method_runs(rows) for name, rows in models[models.kind == "unlearned"].groupby("method")},
        frozenset((manifest.get("sweep") or {}).get("searched", ())),
        {"raybench": str(manifest.get("raybench")), "commit": str(manifest.get("raybench_commit") or "unknown")},
    )


def _settings(manifest: Mapping[str, Any], resolve: Resolve) -> Mapping[str, Any]:
    """Return the settings of the run with all defaults: as recorded, or as they would be today."""
    if "settings" in manifest:
        return dict(manifest["settings"])
    text = str(manifest["experiment"])
    try:
        return resolve(text)
    except UserError:  # a plug-in that is not here, or a key that has another name now
        return dict(yaml.safe_load(text))


def _flat(settings: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{key}{name}.")
        else:
            yield f"{key}{name}", value


def _fingerprints(manifest: Mapping[str, Any], splits: pd.DataFrame) -> dict[str, str]:
    checkpoint = manifest.get("checkpoint") or {}
    roles = hashlib.blake2b(digest_size=8)
    for role, rows in splits.groupby("role"):
        roles.update(str(role).encode())
        roles.update(np.sort(rows.id.to_numpy(dtype=np.int64)).tobytes())
    return {
        "data": str(manifest["artifacts"]["data"]),
        "roles": roles.hexdigest(),
        "checkpoint": str(checkpoint.get("sha256", "")),
    }


def _method_runs(rows: pd.DataFrame) -> MethodRuns:
    known = rows.hyperparameters.dropna()
    return MethodRuns(json.loads(known.iloc[0]) if len(known) else {}, frozenset(rows.model))
