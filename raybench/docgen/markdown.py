"""Markdown: tables, page headers, and JSON schema fragments in words."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

GENERATED = "<!-- written by `python -m raybench.docgen`; edit the docstrings and descriptions in raybench/ instead -->"
ABBREVIATIONS = {
    "UA": "unlearning accuracy, 1 - accuracy on forget",
    "RA": "retain accuracy",
    "TA": "test accuracy",
    "AUC": "area under the receiver operating characteristic",
    "CKA": "centered kernel alignment",
    "CR": "conformal ratio, coverage over mean set size",
    "MIA": "membership inference attack",
    "MIACR": "conformal ratio of a membership inference attack",
    "AGL": "agreement of logits with retrained models",
    "AGR": "agreement of representations with retrained models",
    "H-LR": "harmonic mean of the logit score AGL and the representation score AGR",
    "KLoM": "KL divergence of margins",
    "LiRA": "likelihood ratio attack",
    "NoMUS": "normalized machine unlearning score",
    "RMIA": "robust membership inference attack",
    "SVC": "support vector classifier",
    "ZRF": "zero retrain forgetting",
}
IN_PROSE_ONLY = ("UA", "RA", "TA")  # the others are also parts of metric names, such as `cka_to_original` and `h_lr`
TYPES = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def page(title: str, *parts: str) -> str:
    """Return a generated page: title, abbreviations that the page uses, parts."""
    body = "\n\n".join(part for part in parts if part)
    used = "; ".join(f"{short} = {meaning}" for short, meaning in ABBREVIATIONS.items() if _uses(body, short))
    legend = f"Abbreviations: {used}." if used else ""
    return "\n\n".join(part for part in (f"# {title}", GENERATED, legend, body) if part) + "\n"


def _uses(body: str, short: str) -> bool:
    forms = {short} if short in IN_PROSE_ONLY else {short, short.lower().replace("-", "_")}
    return re.search(rf"(?<![A-Za-z])({'|'.join(forms)})(?![A-Za-z])", body) is not None


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def allowed_values(fragment: Mapping[str, Any]) -> str:
    """Return what a JSON schema fragment accepts, in words: `integer >= 1 or null`, `list of text`."""
    if "anyOf" in fragment:
        return " or ".join(dict.fromkeys(allowed_values(branch) for branch in fragment["anyOf"]))
    if "enum" in fragment:
        return ", ".join(_code(value) for value in fragment["enum"])
    if "const" in fragment:
        return _code(fragment["const"])
    kind = fragment.get("type")
    if kind == "array":
        return f"list of {_plural(allowed_values(fragment['items']))}" if fragment.get("items") else "list"
    if kind == "object" or "$ref" in fragment:
        return "mapping"
    if not isinstance(kind, str):
        return "any"
    return " ".join(part for part in (TYPES[kind], _bounds(fragment)) if part)


def _plural(allowed: str) -> str:
    return re.sub(r"^(integer|number|text)\b", r"\1s", allowed)


def default_value(fragment: Mapping[str, Any]) -> str:
    """Return the default of a JSON schema fragment as YAML writes it, floats to six digits; `required` without one."""
    if "default" not in fragment:
        return "required"
    value = fragment["default"]
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value != round(value, 6):
        return f"{value:.6g}"
    return json.dumps(value)


def _bounds(fragment: Mapping[str, Any]) -> str:
    if "minimum" in fragment and "maximum" in fragment:
        return f"from {fragment['minimum']:g} to {fragment['maximum']:g}"
    if "exclusiveMinimum" in fragment and "exclusiveMaximum" in fragment:
        return f"between {fragment['exclusiveMinimum']:g} and {fragment['exclusiveMaximum']:g}"
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    return " and ".join(f"{sign} {fragment[key]:g}" for key, sign in signs.items() if key in fragment)


def _code(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) else json.dumps(value)


def replace_section(page: str, section: str) -> str:
    """Return the page with the section under the same `##` heading replaced, or appended if there is none."""
    heading = section.split("\n", 1)[0]
    before, found, after = page.partition(f"\n{heading}\n")
    _, following, rest = after.partition("\n## ") if found else ("", "", "")
    return f"{before.rstrip()}\n\n{section.rstrip()}\n{following and f'{following}{rest}'}"
