"""Choose the files that travel with a job, and pack them: the project's code and experiments, never results or data.

The package is the job's working directory on every node. It is packed here, file by file, rather than by Ray from the
folder, so that it holds exactly what was chosen, has a known size, and the same files give the same bytes (Ray uploads
a package it already has only once).
"""

import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from ray._private.thirdparty.pathspec import PathSpec  # the very rules by which Ray itself reads .rayignore

from raybench.errors import UserError

LIMIT_BYTES = 100 * 2**20  # a cluster's dashboard refuses a larger upload
HEAVY = ("runs", "data")  # folders at the top of a project that hold results and images; they never travel untracked
NEVER = {".git", ".venv", "__pycache__"}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can hold


def pack(folder: Path, target: Path, *, also: Iterable[str] = ()) -> int:
    """Write the files of `folder` that travel, and those named in `also`, to a zip; return how many there are.

    Raises UserError that names the three largest things when the zip grows beyond `LIMIT_BYTES`.
    """
    names = sorted({*traveling(folder), *also})
    with target.open("wb") as stream, ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        for name in names:
            entry = ZipInfo(name, date_time=EPOCH)
            entry.compress_type = ZIP_DEFLATED
            entry.external_attr = (folder / name).stat().st_mode << 16  # a script stays executable
            with (folder / name).open("rb") as source, archive.open(entry, "w", force_zip64=True) as sink:
                while chunk := source.read(2**20):
                    sink.write(chunk)
                    if stream.tell() > LIMIT_BYTES:
                        raise _too_large(folder, names)
    if target.stat().st_size > LIMIT_BYTES:
        raise _too_large(folder, names)
    return len(names)


def traveling(folder: Path) -> list[str]:
    """Return the relative paths of the files that travel, sorted.

    In a git checkout: what git tracks, and what it neither tracks nor ignores. Elsewhere: everything but what the
    folder's .gitignore names. In both, .rayignore at the top of the folder has the last word.
    """
    tracked, untracked = _git(folder, "--cached"), _git(folder, "--others", "--exclude-standard")
    if tracked or untracked:
        names = [*tracked, *(name for name in untracked if name.split("/")[0] not in HEAVY)]
    else:
        names = list(_walk(folder, _rules(folder / ".gitignore")))
    ignored = _rules(folder / ".rayignore")
    return sorted(name for name in set(names) if not ignored.match_file(name) and (folder / name).is_file())


def _git(folder: Path, *options: str) -> list[str]:
    """List files by git; nothing where there is no git, no checkout, or git ignores the whole folder."""
    try:
        done = subprocess.run(["git", "-C", str(folder), "ls-files", "-z", *options], capture_output=True, check=False)
    except FileNotFoundError:
        return []
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name] if done.returncode == 0 else []


def _rules(file: Path) -> PathSpec:
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return PathSpec.from_lines("gitwildmatch", lines)


def _walk(folder: Path, ignored: PathSpec) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        here = Path(root).relative_to(folder)
        skipped = {*NEVER, *(HEAVY if here == Path() else ())}
        folders[:] = [f for f in folders if f not in skipped and not ignored.match_file(f"{(here / f).as_posix()}/")]
        for file in files:
            name = (here / file).as_posix()
            if not ignored.match_file(name):
                yield name


def _too_large(folder: Path, names: list[str]) -> UserError:
    sizes: Counter[str] = Counter()
    for name in names:
        parts = name.split("/")
        sizes["/".join(parts[:2]) + ("/" if len(parts) > 2 else "")] += (folder / name).stat().st_size
    largest = ", ".join(f"{name} ({size / 2**20:.1f} MiB)" for name, size in sizes.most_common(3))
    return UserError(
        f"what would travel from {str(folder)!r} is more than the {LIMIT_BYTES / 2**20:g} MiB that a cluster takes; "
        f"largest: {largest}. Name what the job does not need in {str(folder / '.rayignore')!r}, or give --working-dir "
        "a smaller folder; images and checkpoints belong on storage that all nodes reach"
    )
