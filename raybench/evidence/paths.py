"""Absolute paths name users and machines: evidence contains none."""

import re
from typing import Any

ABSOLUTE = re.compile(r"(?<![\w./:*-])(?:/|~/)(?:[\w.@+-]+/)*[\w.@+-]+")


def without_paths(value: Any) -> Any:
    """Return texts, lists and mappings with every absolute path shortened to its last part."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if isinstance(value, str):
        return ABSOLUTE.sub(lambda match: match.group().rsplit("/", 1)[-1], value)
    return value
