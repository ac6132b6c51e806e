"""Check an evidence folder: its files, its model, its image hashes, and its verdict computed again.

The folder may come from anyone: only files inside it are read, links are refused, nothing is unpickled, and no code in
it is run.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from raybench import __version__, models
from raybench.errors import UserError
from raybench.evidence import tables
from raybench.evidence.experiment import FILE as EXPERIMENT
from raybench.evidence.folder import MODEL, PAGE, RECORD, SUMS, digest_of, files_below, is_safe, read_sums
from raybench.evidence.hashes import hash_file, hash_set, hash_weights
from raybench.evidence.images import FILE as IMAGES
from raybench.evidence.images import held_hashes, read_csv
from raybench.evidence.page import page
from raybench.evidence.record import FORMAT, VERSION, Record, measurements
from raybench.report.plain_verdict import verdict_of

TOLERANCE = 1e-6  # between a number of the record and the same number computed again
LARGEST_RECORD = 100_000_000  # bytes
Outcome = Iterator[str]


class Failed(Exception):
    """What a check found wrong, in words."""


@dataclass(frozen=True)
class Check:
    """One line of the result: what was checked, whether it holds, and what was found."""

    name: str
    ok: bool
    text: str


def verify(
    folder: Path, *, digest: str | None = None, data: Path | None = None, model: Path | None = None
) -> list[Check]:
    """Check an evidence folder; every check is one line, also after one that failed.

    Args:
        folder: the evidence folder.
        digest: the digest from a printed or signed copy of the page; without it, a folder that someone rewrote as a
            whole, hashes included, looks like the true one.
        data: images that someone holds, compared with the hashes of the forgotten ones.
        model: a checkpoint, compared with the certified weights.

    Raises UserError for a folder that is no evidence folder.
    """
    if not (folder / RECORD).is_file() or not (folder / SUMS).is_file():
        raise UserError(f"{str(folder)!r} is no evidence folder: it has no {RECORD} or no {SUMS}")
    record: Record = {}

    def load() -> str:
        record.update(_record(folder))
        return f"{RECORD}: version {record['version']}, made by raybench {record['made_by']}, lists the same files"

    checks: list[tuple[str, Callable[[], str]]] = [
        ("files", lambda: _files(folder)),
        ("record", load),
        ("digest", lambda: _digest(folder, digest)),
        ("model", lambda: _model(folder, record, model)),
        ("images", lambda: _images(folder, record)),
        *([("data", lambda: _data(folder, record, data))] if data is not None else []),
        ("verdict", lambda: _verdict(folder, record)),
        ("page", lambda: _page(folder, record)),
    ]
    return [_check(name, function) for name, function in checks]


def _check(name: str, function: Callable[[], str]) -> Check:
    try:
        return Check(name, True, function())
    except Failed as error:
        return Check(name, False, str(error))
    except KeyError as error:
        return Check(name, False, f"{RECORD} does not say {error}")
    except (OSError, ValueError, TypeError, AttributeError, IndexError, StopIteration, pa.ArrowException) as error:
        return Check(name, False, f"cannot be checked: {' '.join(str(error).split())[:300]}")


def _files(folder: Path) -> str:
    """Compare all files with SHA256SUMS."""
    sums, found = read_sums(folder), set(files_below(folder)) - {SUMS}
    links = sorted(name for name in found if (folder / name).is_symlink())
    if links:
        raise Failed(f"{', '.join(links)}: is a link, which leads out of the folder")
    problems = [f"{name} is changed" for name in sorted(found & set(sums)) if hash_file(folder / name) != sums[name]]
    problems += [f"{name} is missing" for name in sorted(set(sums) - found)]
    problems += [f"{name} is not listed (extra file)" for name in sorted(found - set(sums))]
    if problems:
        raise Failed("; ".join(problems))
    return f"all {len(sums)} files of {SUMS} are there and unchanged, and there is no other"


def _record(folder: Path) -> Record:
    path = folder / RECORD
    if path.stat().st_size > LARGEST_RECORD:
        raise Failed(f"{RECORD} is larger than {LARGEST_RECORD:,} bytes")
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise Failed(f"{RECORD} is not evidence of raybench")
    if record["version"] != VERSION:
        raise Failed(f"{RECORD} has version {record['version']}; this raybench reads version {VERSION}")
    unsafe = sorted(name for name in record["files"] if not is_safe(name))
    if unsafe:
        raise Failed(f"{RECORD}: the path {unsafe[0]!r} leads out of the folder")
    sums = {name: value for name, value in read_sums(folder).items() if name not in (PAGE, RECORD)}
    names = {*sums, *record["files"]}
    differing = sorted(name for name in names if sums.get(name) != record["files"].get(name))
    if differing:
        raise Failed(f"{RECORD} and {SUMS} differ in {', '.join(differing)}")
    return record


def _digest(folder: Path, expected: str | None) -> str:
    printed, actual = digest_of(folder)
    if printed != actual:
        raise Failed(f"{PAGE} prints {printed or 'none'}, but the files have {actual}")
    if expected is None:
        return f"{actual}, as the page prints it; compare it with your signed copy, or give it as --digest"
    if expected.strip().lower() != actual:
        raise Failed(f"the given one is {expected.strip().lower()}, but the files have {actual}")
    return f"{actual}, as given"


def _model(folder: Path, record: Record, other: Path | None) -> str:
    filed = record["models"]["unlearned"]
    if hash_file(folder / MODEL) != filed["sha256"]:
        raise Failed(f"{MODEL} is not the model that was certified (SHA-256 of the file)")
    weights = models.read_weights(folder / MODEL)
    if hash_weights(weights) != filed["weights_sha256"]:
        raise Failed(f"{MODEL} has other weights than those that were certified")
    if other is None:
        return f"{MODEL} is the certified model ({len(weights)} tensors, read without running code)"
    if hash_weights(models.read_weights(other)) != filed["weights_sha256"]:
        raise Failed(f"{other} has other weights than the certified model")
    return f"{MODEL} is the certified model, and {other} has the same weights"


def _images(folder: Path, record: Record) -> str:
    forgotten, images = record["forgotten"], read_csv(folder / IMAGES)
    if len(images.rows) != forgotten["count"]:
        raise Failed(f"{IMAGES} has {len(images.rows)} images, but {forgotten['count']} were forgotten")
    if hash_set(images.hashes) != forgotten["set_sha256"]:
        raise Failed(f"{IMAGES} has other hashes than those that were certified")
    ids = set(tables.read(folder)["forget"]["id"].tolist())
    if ids != {row for row, *_ in images.rows}:
        raise Failed(f"{IMAGES} and tables/forget.parquet are about other samples")
    return f"hashes of all {len(images.rows)} images to forget; hashed: {forgotten['hashed']}"


def _data(folder: Path, record: Record, held: Path | None) -> str:
    """Compare the images that someone holds with the hashes."""
    assert held is not None
    if not held.is_dir():
        raise Failed(f"{held} is no folder")
    rows = read_csv(folder / IMAGES).rows
    section = yaml.safe_load((folder / EXPERIMENT).read_text(encoding="utf-8"))["data"]
    missing: dict[int, tuple[str, str]] = {row: (file, pixels) for row, file, pixels in rows}
    kinds = {"file": 0, "pixels": 0}
    for hashes in held_hashes(section, held, list(missing)):
        for row, (file, pixels) in list(missing.items()):
            kind = "file" if file in hashes else "pixels" if pixels in hashes else None
            if kind is not None:
                kinds[kind] += 1
                del missing[row]
        if not missing:
            break
    by = " and ".join(
        f"{count} by {'their pixels' if kind == 'pixels' else 'the bytes of their file'}"
        for kind, count in kinds.items()
        if count
    )
    if missing:
        few = ", ".join(str(row) for row in sorted(missing)[:5]) + " ..." * (len(missing) > 5)
        found = f"; found {by}" if by else ""
        raise Failed(f"{len(missing)} of {len(rows)} images to forget are not in {held} (rows {few}){found}")
    return f"all {len(rows)} images to forget are in {held}: {by}"


def _verdict(folder: Path, record: Record) -> str:
    """Compute the verdict from the tables and compare it with the record."""
    method, filed = record["method"]["name"], record["verdict"]
    frames = tables.read(folder)
    outcome = tables.recompute(frames, record["settings"])
    computed = verdict_of(outcome.board, method)
    differing = [name for name in computed if not _same(computed[name], filed[name])]
    lines = measurements(outcome.board, frames, record["models"]["unlearned"]["model"])
    differing += [
        line["title"] for line, own in zip(lines, record["measurements"], strict=True) if not _same(line, own)
    ]
    by_model = outcome.single.set_index("model")
    for own in filed["models"]:
        value = float(by_model.loc[own["model"], "value"])
        if not _same(None if math.isnan(value) else value, own["value"]):
            differing.append(f"residual memory of model {own['model']}")
    if differing:
        made_by = record["made_by"]
        version = "" if made_by == __version__ else f" (made by raybench {made_by}, this is {__version__})"
        raise Failed(
            f"the tables give another {', '.join(differing)}: {computed['sentence']!r} instead of {filed['sentence']!r}"
            f"{version}"
        )
    return f"the tables give the same verdict and numbers: {computed['sentence']}"


def _page(folder: Path, record: Record) -> str:
    if record["made_by"] != __version__:
        return f"made by raybench {record['made_by']}, so its text is checked by its hash only"
    printed, _ = digest_of(folder)
    text = (folder / PAGE).read_text(encoding="utf-8")
    rendered = page(record)
    if printed is None or text != rendered.replace("0" * 64, printed):
        raise Failed(f"{PAGE} says something else than {RECORD}")
    return f"{PAGE} says what {RECORD} says"


def _same(left: Any, right: Any) -> bool:
    """Compare values of the record; numbers may differ by rounding."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, float) and isinstance(right, int | float):
        return math.isclose(left, right, rel_tol=0, abs_tol=TOLERANCE)
    return bool(left == right)
