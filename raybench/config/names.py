"""Names that become part of a path in the storage: of runs, of entries under `methods`, of downstream sets."""

import re

from raybench import limits
from raybench.config.yaml_text import quote
from raybench.errors import UserError

RESERVED = ("artifacts", "artefacts", "damaged")  # folders of the storage that are no run
PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
ALLOWED = (
    f"1 to {limits.NAME} letters of the Latin alphabet, digits, '.', '_' and '-', beginning with a letter, a digit or "
    "'_'"
)


def check_path_name(name: str, what: str) -> str:
    """Return the name; raise UserError for one that could name a file elsewhere, or one that is too long.

    `what` is named in the message: "a run".
    """
    if len(name) > limits.NAME or not PATTERN.fullmatch(name):
        raise UserError(
            f"{quote(repr(name))} cannot name {what}, because it becomes part of a path (allowed: {ALLOWED})"
        )
    return name


def check_run_name(name: str) -> str:
    """Return the name of a run; it must not be that of another folder of the storage either."""
    if name.lower() in RESERVED:
        raise UserError(f"{name!r} cannot name a run: raybench keeps the artifacts of all runs in such a folder")
    return check_path_name(name, "a run")
