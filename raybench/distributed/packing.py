"""Select the project files that a job needs, and pack them into a zip: code and experiments, not results or data.

The zip becomes the job's working directory on every node. raybench packs it instead of Ray, so that the selection
follows .gitignore and .rayignore, the size is known before the upload, and equal files give equal bytes (Ray uploads a
package only once).
"""

import os
import stat
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from pathspec import GitIgnoreSpec

from raybench.data.listing import first_few
from raybench.errors import UserError

LIMIT_BYTES = 100 * 2**20  # the dashboard rejects larger uploads
UNTRACKED_EXCLUDED = ("runs", "data")  # top-level folders of results and images: packed only if git tracks them
ALWAYS_EXCLUDED = {".git", ".venv", "__pycache__"}
SECRETS = GitIgnoreSpec.from_lines(
    [
        *(".env", ".env.*", "!.env.example", "!.env.template", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx"),
        *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".ssh/", ".aws/", ".azure/", ".gnupg/", ".kaggle/"),
        *(".netrc", ".pgpass", ".npmrc", ".pypirc", ".git-credentials", ".htpasswd", "kaggle.json", "credentials"),
        *("credentials.json", "service_account*.json", "auth_token", "secrets.yaml", "secrets.yml", "secrets.json"),
    ]
)
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can store


def pack(folder: Path, target: Path, *, also: Iterable[str] = ()) -> int:
    """Write the selected files of `folder`, and those named in `also`, to a zip; return the number of files.

    Raises UserError that names the three largest files or folders if the zip exceeds `LIMIT_BYTES`.
    """
    names = sorted({*project_files(folder), *also})
    with target.open("wb") as stream, ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        for name in names:
            entry = ZipInfo(name, date_time=EPOCH)
            entry.compress_type = ZIP_DEFLATED
            # scripts stay executable; nobody else on a node may read the files
            is_script = bool((folder / name).stat().st_mode & stat.S_IXUSR)
            entry.external_attr = (stat.S_IFREG | (0o700 if is_script else 0o600)) << 16
            with (folder / name).open("rb") as source, archive.open(entry, "w", force_zip64=True) as sink:
                while chunk := source.read(2**20):
                    sink.write(chunk)
                    if stream.tell() > LIMIT_BYTES:
                        raise _too_large(folder, names)
    if target.stat().st_size > LIMIT_BYTES:
        raise _too_large(folder, names)
    return len(names)


def project_files(folder: Path) -> list[str]:
    """Return the relative paths of the files to pack, sorted.

    In a git checkout: tracked files, and untracked files that git does not ignore. Elsewhere: all files that the
    folder's .gitignore does not exclude. In both cases a .rayignore at the top of the folder excludes further files,
    and files that usually hold passwords or keys (`SECRETS`) are left out.
    """
    return [name for name in _candidates(folder)[0] if not SECRETS.match_file(name)]


def unusual_files(folder: Path) -> Iterator[str]:
    """Yield a line about the secrets that are left out, and one about the files that git does not track."""
    names, untracked = _candidates(folder)
    secrets = [name for name in names if SECRETS.match_file(name)]
    sent = [name for name in names if name in untracked and name not in secrets]
    if secrets:
        yield f"left out   {len(secrets)} files that may hold secrets: {first_few(secrets)}"
    if sent:
        yield f"untracked  {len(sent)} of the files are not tracked by git: {first_few(sent)}"


def _candidates(folder: Path) -> tuple[list[str], set[str]]:
    """Return the files that no rule excludes, sorted, and which files of the folder git does not track."""
    tracked, untracked = _git(folder, "--cached"), _git(folder, "--others", "--exclude-standard")
    if tracked or untracked:
        names = [*tracked, *(name for name in untracked if name.split("/")[0] not in UNTRACKED_EXCLUDED)]
    else:
        names = list(_walk(folder, _rules(folder / ".gitignore")))
    rayignore = _rules(folder / ".rayignore")
    kept = sorted(name for name in set(names) if not rayignore.match_file(name) and (folder / name).is_file())
    return kept, set(untracked)


def _git(folder: Path, *options: str) -> list[str]:
    """List files with git; empty without git, outside a checkout, or if git ignores the whole folder."""
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), "ls-files", "-z", *options], capture_output=True, check=False
        )
    except FileNotFoundError:
        return []
    return [os.fsdecode(name) for name in result.stdout.split(b"\0") if name] if result.returncode == 0 else []


def _rules(file: Path) -> GitIgnoreSpec:
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return GitIgnoreSpec.from_lines(lines)


def _walk(folder: Path, gitignore: GitIgnoreSpec) -> Iterator[str]:
    """Yield the relative paths of all files that are not excluded; excluded folders are not entered."""
    for root, folders, files in os.walk(folder):
        current = Path(root).relative_to(folder)
        excluded = {*ALWAYS_EXCLUDED, *(UNTRACKED_EXCLUDED if current == Path() else ())}
        folders[:] = [
            name
            for name in folders
            if name not in excluded and not _is_excluded(gitignore, (current / name).as_posix())
        ]
        for file in files:
            path = (current / file).as_posix()
            if not gitignore.match_file(path):
                yield path


def _is_excluded(gitignore: GitIgnoreSpec, folder: str) -> bool:
    """Return whether the last matching rule excludes the folder; `match_file` prefers file rules, git does not."""
    matches = (rule.include for rule in reversed(gitignore.patterns) if rule.match_file(f"{folder}/") is not None)
    return next((include for include in matches if include is not None), False)


def _too_large(folder: Path, names: list[str]) -> UserError:
    sizes: Counter[str] = Counter()
    for name in names:
        parts = name.split("/")
        sizes["/".join(parts[:2]) + ("/" if len(parts) > 2 else "")] += (folder / name).stat().st_size
    largest = ", ".join(f"{name} ({size / 2**20:.1f} MiB)" for name, size in sizes.most_common(3))
    return UserError(
        f"the package of {str(folder)!r} exceeds the {LIMIT_BYTES / 2**20:g} MiB that a cluster accepts; largest: "
        f"{largest}. Exclude files that the job does not need in {str(folder / '.rayignore')!r}, or choose a smaller "
        "folder with --working-dir. Put images and checkpoints on storage that all nodes can read"
    )
