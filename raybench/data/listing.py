"""Shorten a list for an error message."""

from collections.abc import Iterable
from itertools import islice

NUM_LISTED = 5


def first_few(values: Iterable[object]) -> str:
    """Join the first five values with commas; add "..." if there are more."""
    texts = [str(value) for value in islice(values, NUM_LISTED + 1)]
    return ", ".join(texts[:NUM_LISTED]) + (", ..." if len(texts) > NUM_LISTED else "")
