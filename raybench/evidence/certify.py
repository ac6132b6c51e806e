"""Write the evidence folder of one method of a run."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from raybench import models
from raybench.config.reading import experiment_of
from raybench.config.schema import Experiment
from raybench.data import forget_rules
from raybench.errors import UserError, unknown
from raybench.evidence import tables
from raybench.evidence.experiment import FILE as EXPERIMENT_FILE
from raybench.evidence.experiment import FiledExperiment, write_experiment
from raybench.evidence.folder import MODEL, PAGE, README, RECORD, files_below, seal
from raybench.evidence.hashes import hash_bytes, hash_file, hash_set, hash_weights
from raybench.evidence.images import FILE as IMAGES
from raybench.evidence.images import ForgottenImages, forgotten_images
from raybench.evidence.page import page
from raybench.evidence.paths import without_paths
from raybench.evidence.readme import readme
from raybench.evidence.record import Models, Record, record_of
from raybench.report.stored import cost_of_retraining
from raybench.scenario import image_store
from raybench.storage.errors import DamagedError
from raybench.storage.runs import find_run
from raybench.storage.store import Store

TOLERANCE = 1e-9  # between the residual memory of the run and that computed from the filed tables


@dataclass(frozen=True)
class Request:
    """Who asked for it and who did it, as printed on the page; raybench cannot check any of this."""

    id: str = ""
    operator: str = ""
    date: str = field(default_factory=lambda: date.today().isoformat())


def certify(store: Store, run: str, method: str, folder: Path, request: Request | None = None) -> Record:
    """Write the evidence of a method to a new or empty folder, all of it or nothing; return what `evidence.json` says.

    Args:
        store: storage of the run.
        run: NAME for the newest run of this name, or NAME/FINGERPRINT.
        method: a method of the run that has a verdict.
        folder: folder to write; must not exist, or be empty.
        request: id, operator and date for the page.

    Raises UserError for a run without tables, a method that failed or has no verdict, and a model or images that are no
    longer in the storage.
    """
    request = request or Request()
    _check_date(request.date)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--out {str(folder)!r} exists: evidence is never overwritten; give a new folder")
    run = find_run(store, run)
    manifest = store.read_json(f"{run}/manifest.json")
    content = tables.subset(store, run)
    names = dict.fromkeys(content["trials"]["method"].to_pylist())
    if method not in names:
        raise unknown(f"method of run {run!r}:", method, names)
    experiment = _experiment(manifest["experiment"])
    rule = forget_rules.spec(experiment.forget.rule)
    roles = store.read_table(f"{run}/tables/splits.parquet", columns=["role"])["role"].to_pylist()
    frames = {name: table.to_pandas() for name, table in content.items()}
    settings = {
        "margin": manifest.get("margin", 0.1),
        "retraining": cost_of_retraining(manifest, roles),
        "groups_are_units": rule.whole_groups and bool(frames["forget"]["group"].notna().all()),
    }
    outcome = tables.recompute(frames, settings)
    _compare(store, run, outcome, method)
    record = record_of(run, method, outcome, frames, manifest, settings, asdict(request))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(f"--out {str(folder)!r} cannot be written: {error.strerror}") from error
    try:
        filed_models = _write_model(store, record, partial)
        images = _images(store, manifest, frames["forget"]["id"].tolist())
        (partial / IMAGES).parent.mkdir()
        (partial / IMAGES).write_text(images.to_csv(), encoding="utf-8")
        tables.write(partial, content)
        filed = write_experiment(partial, manifest["experiment"], experiment)
        _finish(partial, record, filed_models, images, filed, _data_manifest(manifest["experiment"]))
        partial.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        os.rename(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return record


def _finish(
    folder: Path,
    record: Record,
    filed_models: Models,
    images: ForgottenImages,
    filed: FiledExperiment,
    data_manifest: Mapping[str, str] | None,
) -> None:
    """Complete the record, and write record, README, page and hashes."""
    record["models"] = filed_models
    record["forgotten"] |= {
        "hashed": images.source,
        "set_sha256": hash_set(images.hashes),
        "manifest": data_manifest,
    }
    record["experiment"] = {"file": EXPERIMENT_FILE, **asdict(filed)}
    record |= json.loads(json.dumps(record))  # the page is the same from the record in memory and from the file
    (folder / README).write_text(readme(record), encoding="utf-8")
    record["files"] = {name: hash_file(folder / name) for name in files_below(folder)}
    (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(page(record), encoding="utf-8")
    record["digest"] = seal(folder)


def _check_date(text: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"--date {text!r}: must be a date such as 2026-01-31") from error


def _experiment(text: str) -> Experiment:
    try:
        return experiment_of(yaml.safe_load(text))[0]
    except UserError as error:
        raise UserError(
            f"the experiment of the run cannot be read here, and evidence contains the code that it names: {error}. "
            "Run certify in the project's folder"
        ) from error


def _compare(store: Store, run: str, outcome: tables.Outcome, method: str) -> None:
    """Raise UserError unless the filed tables give the residual memory that the run reported."""
    key = f"{run}/tables/memory.parquet"
    if not store.exists(key):
        raise UserError(f"run {run!r} has no table of residual memory: run its experiment again")
    reported, computed = (
        frame.set_index("method")["value"].get(method) for frame in (store.read_table(key).to_pandas(), outcome.memory)
    )
    first, second = (math.nan if value is None else float(value) for value in (reported, computed))
    if not (abs(first - second) <= TOLERANCE or (math.isnan(first) and math.isnan(second))):
        raise UserError(
            f"run {run!r} reports a residual memory of {first:.4f} for {method!r}, but its losses give {second:.4f}: "
            "the code changed since; run the experiment again"
        )


def _write_model(store: Store, record: Record, folder: Path) -> Models:
    """Write the first model of the method whose weights are there; return it and its original, with their hashes."""
    for run in record["method"]["runs"]:
        key = f"artifacts/models/{run['model']}.pt"
        if not store.exists(key):
            continue
        content = store.read_archive(key)
        (folder / MODEL).parent.mkdir()
        (folder / MODEL).write_bytes(content)
        unlearned = {**run, "file": MODEL, **_hashes(content, run["model"])}
        return {"unlearned": unlearned, "original": _original(store, record, run["original"])}
    name = record["method"]["name"]
    raise UserError(f"method {name!r} has no model to certify: its weights are no longer on {store.shown}")


def _original(store: Store, record: Record, number: int) -> dict[str, Any]:
    original = next(dict(model) for model in record["originals"] if model["original"] == number)
    key = f"artifacts/models/{original['model']}.pt"
    try:
        hashes: dict[str, Any] = _hashes(store.read_archive(key), original["model"]) if store.exists(key) else {}
    except DamagedError:
        hashes = {}
    return {**original, "sha256": hashes.get("sha256"), "weights_sha256": hashes.get("weights_sha256")}


def _hashes(content: bytes, name: str) -> dict[str, str]:
    weights = models.read_weights(content, name=name)
    return {"sha256": hash_bytes(content), "weights_sha256": hash_weights(weights)}


def _images(store: Store, manifest: Mapping[str, Any], ids: list[int]) -> ForgottenImages:
    section = yaml.safe_load(manifest["experiment"])["data"]
    key = manifest["artifacts"]["data"]
    try:
        stored = image_store.open_images(store.uri, key)
    except OSError as error:
        raise UserError(
            f"the images of the run ({key}) are no longer on {store.shown}, so the forgotten ones cannot be hashed: "
            "run the experiment again"
        ) from error
    root = section.get("root")
    stored = image_store.relocate(stored, None if root is None else str(Path(root).expanduser()))
    return forgotten_images(stored, ids, section)


def _data_manifest(text: str) -> dict[str, str] | None:
    """Return the file that lists the images and their labels, with its hash, if the data set has one that is there."""
    section = yaml.safe_load(text)["data"]
    root = section.get("root")
    if root is None:
        return None
    path = Path(root).expanduser()
    name = section.get("options", {}).get("file")
    listed = [path] if path.is_file() else [*path.glob("*.csv"), *path.glob("*.parquet")]
    files = [path / name] if name else listed
    if len(files) != 1 or not files[0].is_file():
        return None
    return {"file": str(without_paths(files[0].name)), "sha256": hash_file(files[0])}
