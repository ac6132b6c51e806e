"""Runs on a storage: each is a folder `<name>/<fingerprint>/`, and `<name>/newest.json` names the newest of a name.

The fingerprint is one of everything that decides the results (`scenario.run_folder`), so two experiments under one name
never write to the same folder, and the same experiment resumes in its own.
"""

import re
from datetime import datetime

from raybench.errors import UserError, unknown
from raybench.storage.errors import DamagedError
from raybench.storage.store import Store

DIGITS = 8  # of the fingerprint in the name of a folder
TABLES = "tables/metrics.parquet"  # written last: a run that has it is evaluated
NOT_RUNS = ("artifacts", "damaged")
FOLDER = re.compile(rf"[0-9a-f]{{{DIGITS}}}")
REQUEST = re.compile(r"(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)(/(?P<prefix>[A-Za-z0-9._-]*))?/?")


def mark_newest(store: Store, run: str) -> None:
    """Make a run (`name/fingerprint`) the newest of its name; atomic, on any storage."""
    store.write_json(_newest_key(run.partition("/")[0]), {"run": run})


def started_runs(store: Store, name: str | None = None) -> list[str]:
    """Return the folders of runs, with and without tables, as `name/fingerprint`; of one name if it is given."""
    names = [name] if name is not None else [n for n in store.folders("") if n not in NOT_RUNS and n[0] != "."]
    return [f"{n}/{folder}" for n in names for folder in store.folders(n) if FOLDER.fullmatch(folder)]


def evaluated_runs(store: Store, name: str | None = None) -> list[str]:
    """Return the runs that have tables, as `name/fingerprint`, sorted; of one name if it is given."""
    return [run for run in started_runs(store, name) if store.exists(f"{run}/{TABLES}")]


def find_run(store: Store, request: str) -> str:
    """Return the run (`name/fingerprint`) that a user names: `NAME` is its newest, `NAME/PREFIX` a certain one.

    Raises UserError that lists the runs of the name with their dates, or names the nearest run.
    """
    match = REQUEST.fullmatch(request)
    name, prefix = (match["name"], match["prefix"]) if match else (request, None)
    if match and not prefix and (newest := _marked(store, name)) is not None:
        return newest
    runs = evaluated_runs(store, name) if match and name not in NOT_RUNS else []
    if not runs:
        if match and name not in NOT_RUNS and started_runs(store, name):
            raise UserError(f"run {request!r} on {store.shown} has no tables yet: `raybench run` its experiment first")
        names = sorted({run.partition("/")[0] for run in evaluated_runs(store)})
        raise unknown(f"run on {store.shown}:", request, names, hint="; a run has tables once it is evaluated")
    if not prefix:
        return max(runs, key=lambda run: (_started(store, run), run))
    matches = [run for run in runs if run.startswith(f"{name}/{prefix}")]
    if len(matches) != 1:
        problem = "several runs begin like this" if matches else "no run begins like this"
        dated = sorted(((_started(store, run), run) for run in matches or runs), reverse=True)
        dates = ", ".join(f"{run} ({_date(seconds)})" for seconds, run in dated)
        raise UserError(f"run {request!r} on {store.shown}: {problem} (newest first: {dates})")
    return matches[0]


def location(store: Store, key: str) -> str:
    """Return the full path or URI of a key, to be opened or clicked."""
    uri, mark, options = store.shown.partition("?")
    return f"{uri}/{key}{mark}{options}"


def _started(store: Store, run: str) -> float:
    """Return when a run was last started, in seconds since 1970; 0 if it has no manifest."""
    key = f"{run}/manifest.json"
    text = store.read_json(key).get("started") if store.exists(key) else None
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M") if seconds else "no date"


def _newest_key(name: str) -> str:
    return f"{name}/newest.json"


def _marked(store: Store, name: str) -> str | None:
    """Return the run that `newest.json` names, or None if there is none that is evaluated."""
    key = _newest_key(name)
    try:
        run = str(store.read_json(key)["run"]) if store.exists(key) else ""
    except DamagedError:
        return None
    known = run.startswith(f"{name}/") and FOLDER.fullmatch(run.removeprefix(f"{name}/"))
    return run if known and store.exists(f"{run}/{TABLES}") else None
