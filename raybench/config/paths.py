"""Paths of an experiment file: made absolute, so that they mean the same wherever a worker runs."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raybench.config.user_models import CHECKPOINTS

Key = tuple[str, ...]
PATH_KEYS = (("model", "checkpoint"), ("model", "init"), ("data", "root"), ("forget", "file"), ("forget", "scores"))


def resolve_paths(content: dict[str, Any], place_of: Callable[[Key], str]) -> None:
    """Make relative paths absolute: looked up next to the file that names them, then in the current folder.

    A path that exists in neither place stays as it is; the code that opens it knows best what is missing. `content`: an
    experiment; `place_of`: "file:line" of a key.
    """
    sets = _mapping_at(content, ("evaluate", "downstream"))
    keys = [*PATH_KEYS, *(("evaluate", "downstream", downstream, "root") for downstream in sets)]
    entries = [("train", "retrained"), *(("methods", method) for method in _mapping_at(content, ("methods",)))]
    keys += [(*entry, CHECKPOINTS) for entry in entries]
    for *parents, name in keys:
        section, place = _mapping_at(content, parents), place_of((*parents, name))
        value = section.get(name)
        if isinstance(value, str):
            section[name] = _existing(value, place)
        elif isinstance(value, list):
            section[name] = [_existing(path, place) if isinstance(path, str) else path for path in value]


def _existing(path: str, place: str) -> str:
    """Return the absolute path if it exists next to the file of `place` or in the current folder, else as it is."""
    if path.startswith("~") or Path(path).is_absolute():
        return path
    folders = [Path.cwd()] if place.startswith("--set") else [Path(place.rpartition(":")[0]).parent, Path.cwd()]
    return next((str(folder / path) for folder in folders if os.path.exists(folder / path)), path)


def _mapping_at(content: Any, key: Sequence[str]) -> dict[str, Any]:
    """Return the mapping at a key, or an empty one if there is none."""
    for name in key:
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}
