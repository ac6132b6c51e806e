"""The error that raybench raises for a mistake of the user, and the functions that word it.

A message says what is wrong, which values are allowed, the nearest valid name, and what to do. `config.reading` adds
the file and the line, which it looks up by the key that `attach_key` sets.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

MAX_LISTED = 40  # a message lists every allowed name up to this number; of more it lists only the nearest ones
NUM_NEAREST = 5
# a password should have %2F for its slashes, but one that has not must not be shown either
PASSWORD = re.compile(r"://(?:[^/@\s'\"]+|[^/@:\s'\"]+:[^@\s'\"]+)@")
SECRET = re.compile(r"([?&](?:access_key|secret_key|session_token|sas_token|token|password)=)[^&\s'\"]+", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all but tab and newline


# exit codes of the command line, listed in docs/reliability.md; 128 + the number of a signal: stopped by it
EXIT_UNEXPECTED = 1  # a defect of raybench or of a library
EXIT_USER = 2  # the user must change something first: the experiment, an option, the storage
EXIT_LOST = 3  # Ray or a process of the run died; the same command continues

CONTINUE = "Finished work is kept; run the same command again to continue"


class UserError(ValueError):
    """A mistake in a file, an option or an argument; the command line prints it without a traceback."""

    exit_code = EXIT_USER
    key: tuple[str, ...] = ()  # the key of the experiment file that holds the mistake; empty outside of such a file


class LostError(UserError):
    """Ray, or a process that Ray started, died: no mistake of the user; the same command continues."""

    exit_code = EXIT_LOST


@contextmanager
def attach_key(*key: str) -> Iterator[None]:
    """Attach a key of the experiment file to every UserError raised inside; an inner `attach_key` takes precedence."""
    try:
        yield
    except UserError as error:
        error.key = error.key or key
        raise


def printable(text: str) -> str:
    """Return the text as it may be shown: passwords of URIs masked, and control characters written out.

    A name with control characters could otherwise steer the terminal.
    """
    return CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), mask_password(text))


def mask_password(text: str) -> str:
    """Replace what identifies a user in every URI of a text: `s3://key:secret@bucket` and `?secret_key=...`."""
    return SECRET.sub(r"\1***", PASSWORD.sub("://***@", text))


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name closest to `name`, or None if none is close."""
    matches = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown(kind: str, name: object, allowed: Iterable[str], *, hint: str = "") -> UserError:
    """Build the error for an unknown name; a list of more than 40 allowed names is cut to the 5 nearest."""
    names = sorted(allowed)
    close = nearest(str(name), names)
    guess = f"; did you mean {close!r}?" if close else ""
    shown, rest = names, ""
    if len(names) > MAX_LISTED:
        shown = difflib.get_close_matches(str(name), names, n=NUM_NEAREST, cutoff=0.0)
        rest = f" and {len(names) - len(shown)} more"
    return UserError(f"unknown {kind} {name!r}{guess} (allowed: {', '.join(shown) or 'none'}{rest}){hint}")


# What each error type of pydantic means to the user, written to follow "must be".
REQUIREMENTS: Mapping[str, str] = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "none_required": "null",
    "int_parsing_size": "a whole number below 2**63",
    "too_long": "a list of at most {max_length} values",
}


def format_validation_error(problems: Iterable[Mapping[str, Any]]) -> str:
    """Return one sentence for pydantic's errors on one value; the errors of a union's branches become alternatives."""
    requirements: list[str] = []
    sentences: list[str] = []
    for problem in problems:
        requirement = REQUIREMENTS.get(problem["type"])
        if requirement is not None:
            requirements.append(requirement.format(**problem.get("ctx", {})))
        else:
            sentences.append(problem["msg"].removeprefix("Value error, "))
    if requirements:
        sentences.append(f"must be {', or '.join(dict.fromkeys(requirements))}")
    return "; ".join(dict.fromkeys(sentences))
