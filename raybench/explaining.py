"""Say in a person's words what is wrong with a value: pydantic's findings without its own vocabulary."""

from collections.abc import Iterable, Mapping
from typing import Any

WORDS: Mapping[str, str] = {
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
        known = WORDS.get(problem["type"])
        if known is not None:
            allowed.append(known.format(**problem.get("ctx", {})))
        else:
            sentences.append(problem["msg"].removeprefix("Value error, "))
    if allowed:
        sentences.append(f"must be {', or '.join(dict.fromkeys(allowed))}")
    return "; ".join(dict.fromkeys(sentences))
