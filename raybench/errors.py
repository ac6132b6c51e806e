"""The one error raybench raises for people: what was given, what is allowed, the nearest valid name."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave; the command line prints it without a traceback."""


def nearest(given: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name closest to `given`, or None where nothing is close."""
    matches = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown(kind: str, given: object, allowed: Iterable[str], *, hint: str = "") -> UserError:
    """Build the error for a name that does not exist."""
    names = sorted(allowed)
    close = nearest(str(given), names)
    guess = f"; did you mean {close!r}?" if close else ""
    return UserError(f"unknown {kind} {given!r}{guess} (allowed: {', '.join(names) or 'none'}){hint}")
