"""The one error raybench raises for people: what was given, what is allowed, the nearest valid name."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

LISTED = 40  # names of a longer list that are shown: those nearest to what was given


class UserError(ValueError):
    """A mistake in what the user gave; the command line prints it without a traceback."""

    key: tuple[str, ...] = ()  # of the experiment file, where the mistake is in one


@contextmanager
def about(*key: str) -> Iterator[None]:
    """Say which key of the experiment file an error that is raised inside is about."""
    try:
        yield
    except UserError as error:
        error.key = error.key or key
        raise


def nearest(given: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name closest to `given`, or None where nothing is close."""
    matches = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown(kind: str, given: object, allowed: Iterable[str], *, hint: str = "") -> UserError:
    """Build the error for a name that does not exist; of a long list it shows the names nearest to the given one."""
    names = sorted(allowed)
    close = nearest(str(given), names)
    guess = f"; did you mean {close!r}?" if close else ""
    shown, rest = names, ""
    if len(names) > LISTED:
        shown = difflib.get_close_matches(str(given), names, n=5, cutoff=0.0)
        rest = f" and {len(names) - len(shown)} more"
    return UserError(f"unknown {kind} {given!r}{guess} (allowed: {', '.join(shown) or 'none'}{rest}){hint}")


ALLOWED: Mapping[str, str] = {
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
}


def in_words(problems: Iterable[Mapping[str, Any]]) -> str:
    """Return one sentence for what pydantic found wrong with one value; several findings are alternatives (a union)."""
    allowed, sentences = [], []
    for problem in problems:
        known = ALLOWED.get(problem["type"])
        if known is not None:
            allowed.append(known.format(**problem.get("ctx", {})))
        else:
            sentences.append(problem["msg"].removeprefix("Value error, "))
    if allowed:
        sentences.append(f"must be {', or '.join(dict.fromkeys(allowed))}")
    return "; ".join(dict.fromkeys(sentences))
