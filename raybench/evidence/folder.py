"""The files of an evidence folder, their hashes, and one digest of all of them.

`SHA256SUMS` lists every other file, in the form that `sha256sum -c` reads. The digest is the SHA-256 of this list, with
one difference: the page, on which the digest is printed, counts with 64 zeros in its place.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from raybench.evidence.hashes import hash_bytes, hash_file

PAGE, RECORD, SUMS, README = "evidence.html", "evidence.json", "SHA256SUMS", "README.md"
MODEL = "model/unlearned.pt"
BLANK = "0" * 64
PRINTED = re.compile(r'id="digest">([0-9a-f]{64})<')
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def files_below(folder: Path) -> Iterator[str]:
    """Yield the relative paths of all files below a folder, sorted, links included; links are not followed."""
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in sorted([*names, *links]):
            yield Path(parent, name).relative_to(folder).as_posix()


def seal(folder: Path) -> str:
    """Hash all files, print the digest on the page, and write SHA256SUMS last; return the digest."""
    hashes = {name: hash_file(folder / name) for name in files_below(folder)}
    digest = hash_bytes(as_text(hashes).encode())
    page = folder / PAGE
    page.write_text(page.read_text(encoding="utf-8").replace(BLANK, digest), encoding="utf-8")
    (folder / SUMS).write_text(as_text({**hashes, PAGE: hash_file(page)}), encoding="utf-8")
    return digest


def digest_of(folder: Path) -> tuple[str | None, str]:
    """Return the digest that the page prints, None if it prints none, and the digest of the files as they are."""
    page = (folder / PAGE).read_text(encoding="utf-8")
    match = PRINTED.search(page)
    printed = match.group(1) if match else None
    hashes = {name: hash_file(folder / name) for name in files_below(folder) if name != SUMS}
    hashes[PAGE] = hash_bytes(page.replace(printed, BLANK).encode() if printed else page.encode())
    return printed, hash_bytes(as_text(hashes).encode())


def as_text(hashes: dict[str, str]) -> str:
    """Return the list as `sha256sum` writes it, sorted by path."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))


def read_sums(folder: Path) -> dict[str, str]:
    """Return {path: hash} of SHA256SUMS; raise ValueError for a line that is none, and for an unsafe path."""
    sums: dict[str, str] = {}
    for number, line in enumerate((folder / SUMS).read_text(encoding="utf-8").splitlines(), 1):
        match = LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{SUMS}, line {number}: no hash and path")
        if not is_safe(match.group(2)):
            raise ValueError(f"{SUMS}, line {number}: the path {match.group(2)!r} leads out of the folder")
        if match.group(2) in sums:
            raise ValueError(f"{SUMS}, line {number}: {match.group(2)} is listed twice")
        sums[match.group(2)] = match.group(1)
    return sums


def is_safe(name: str) -> bool:
    """Return whether a path stays inside the folder: relative, without `..`, backslashes and control characters."""
    path = PurePosixPath(name)
    return not (path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not name.isprintable())
