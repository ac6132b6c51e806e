"""JSON schemas of what plug-ins take: names and options of data sets, rules, methods and metrics, and search spaces."""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter

from raybench import data, methods, metrics, models, paper_tables, registry
from raybench.config.schema import ALL, METHOD, SEARCH
from raybench.config.spaces import KINDS
from raybench.config.user_models import CHECKPOINTS
from raybench.data import forget_rules
from raybench.data.forget_rules.framework.spec import ForgetRuleSpec
from raybench.data.images import DatasetSpec
from raybench.docgen.docstrings import meaning, method_docstring, summary
from raybench.engine.audit import DIRECTIONS
from raybench.methods.framework.spec import MethodSpec, Settings, hyperparameters
from raybench.metrics.framework.spec import MetricSpec

Schema = dict[str, Any]

USER_DEFINED = {
    "type": "string",
    "pattern": r"^\w+(\.\w+)+$",
    "description": "your own function: package.module.function",
}
TIMM: Schema = {"type": "string", "pattern": "^timm:.", "description": "a model of timm: timm:<name>"}
SHIPPED: Schema = {"type": "boolean", "description": "Take the search ranges that are shipped with the method."}
OBJECT = ["object", "null"]  # null removes a mapping of the extended file, and is a method's defaults
ENTRY: Schema = {"type": [*OBJECT, "string"], "pattern": f"^{SEARCH}$"}  # a method: mapping, null or `search`


FILES: Schema = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "uniqueItems": True}
_HAS_CHECKPOINTS: Schema = {"type": "object", "required": [CHECKPOINTS]}


def names_of(kind: str) -> list[str]:
    """Return the names that a field annotated with `names` accepts: those of `raybench list`, or sweep objectives."""
    names: Mapping[str, Callable[[], Iterable[str]]] = {
        "datasets": data.names,
        "rules": forget_rules.names,
        "models": models.names,
        "methods": methods.names,
        "metrics": lambda: registry.discover(metrics.__name__, MetricSpec),
        "tables": paper_tables.tables,
        "objectives": lambda: DIRECTIONS,
    }
    return list(names[kind]())


def properties(model: type[BaseModel]) -> dict[str, Schema]:
    """Return the JSON schema of each field of a model that holds no other models."""
    fragments: dict[str, Schema] = model.model_json_schema().get("properties", {})
    return {name: strip_titles(fragment) for name, fragment in fragments.items()}


def is_field(value: Any) -> bool:
    """Return whether a key that is named like an annotation or `title` is a field of a section instead."""
    return isinstance(value, dict)


def strip_titles(fragment: Any) -> Any:
    if isinstance(fragment, list):
        return [strip_titles(item) for item in fragment]
    if not isinstance(fragment, dict):
        return fragment
    return {key: strip_titles(value) for key, value in fragment.items() if key != "title" or is_field(value)}


def name_schema(names: Iterable[str], *, user_defined: bool) -> Schema:
    known = {"enum": sorted(names)}
    return {"anyOf": [known, USER_DEFINED]} if user_defined else known


def arguments(function: Callable[..., Any], *, leave_out: Iterable[str] = ()) -> dict[str, Schema]:
    """Return the JSON schema of each keyword-only argument of a plug-in, with its default."""
    fragments: dict[str, Schema] = {}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name not in leave_out:
            fragment = strip_titles(TypeAdapter(parameter.annotation).json_schema())
            has_default = parameter.default is not parameter.empty
            fragments[name] = fragment | ({"default": json_value(parameter.default)} if has_default else {})
    return fragments


def json_value(value: Any) -> Any:
    """Return a default as JSON holds it: tuples become lists."""
    return json.loads(json.dumps(value, default=str))


def rule_options() -> dict[str, Schema]:
    package = forget_rules.PACKAGE
    return {name: arguments(rule) for name, rule in registry.discover(package, ForgetRuleSpec).items()}


def dataset_options() -> dict[str, Schema]:
    formats = registry.discover(data.FORMATS, DatasetSpec)
    return {name: arguments(function, leave_out=("download",)) for name, function in formats.items()}


def metric_values() -> Schema:
    """Return the schema of `evaluate.metrics`: all, one name, a list of names, or names with settings."""
    functions = registry.discover(metrics.__name__, MetricSpec)
    name = name_schema(functions, user_defined=True)
    settings = {
        metric: {"type": OBJECT, "properties": arguments(function), "additionalProperties": False}
        for metric, function in functions.items()
    }
    user_defined = {"patternProperties": {r"\.": {"type": OBJECT}}}
    return {
        "anyOf": [
            {"enum": ["all", *functions]},
            USER_DEFINED,
            {"type": "array", "items": name},
            {"type": OBJECT, "properties": settings, **user_defined, "additionalProperties": False},
        ]
    }


def search_spaces() -> dict[str, Schema]:
    """Return the search spaces of numbers, of whole numbers, and of anything else."""
    ends = {"type": "array", "minItems": 2, "maxItems": 2}
    forms = {
        "uniform": ends | {"items": {"type": "number"}},
        "loguniform": ends | {"items": {"type": "number", "exclusiveMinimum": 0}},
        "randint": ends | {"items": {"type": "integer"}},
        "choice": {"type": "array", "minItems": 1},
    }
    assert set(forms) == set(KINDS)
    spaces = {"number": KINDS, "integer": ("randint", "choice"), "other": ("choice",)}
    return {
        f"space.{kind}": {
            "type": "object",
            "description": "A search space: the sweep draws values from it.",
            "properties": {form: forms[form] for form in allowed},
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
        }
        for kind, allowed in spaces.items()
    }


def _searchable(fragment: Schema) -> Schema:
    """Let a hyperparameter be a fixed value or a search space."""
    types = {branch.get("type") for branch in fragment.get("anyOf", [fragment])}
    kind = next((kind for kind in ("number", "integer") if kind in types), "other")
    about = {key: fragment[key] for key in ("description", "default") if key in fragment}
    value = {key: item for key, item in fragment.items() if key not in about}
    return about | {"anyOf": [value, {"$ref": f"#/$defs/space.{kind}"}]}


def method_definitions() -> dict[str, Schema]:
    """Return a definition of every shared setting, of every method, and of an entry that names its method."""
    shared = {key: _searchable(fragment) for key, fragment in properties(Settings).items()}
    definitions: dict[str, Schema] = {f"settings.{key}": fragment for key, fragment in shared.items()}
    for name in methods.names():
        function = methods.get(name)
        spec = registry.spec_of(function, MethodSpec)
        keys: dict[str, Schema] = {METHOD: {"const": name}, SEARCH: SHIPPED}
        if spec.presets:
            keys["preset"] = _searchable(
                {"enum": sorted(spec.presets), "description": "Settings released with a paper."}
            )
        _, meanings = method_docstring(function)
        for key, fragment in properties(hyperparameters(function)).items():
            keys[key] = _searchable(fragment | {"description": meaning(key, fragment, meanings)})
        for key in shared:
            default = {"default": json_value(spec.settings[key])} if key in spec.settings else {}
            keys.setdefault(key, {"$ref": f"#/$defs/settings.{key}"} | default)
        definition = {**ENTRY, "description": summary(function), "properties": keys}
        definitions[f"method.{name}"] = definition | {"additionalProperties": False}
    definitions[CHECKPOINTS] = {
        "type": "object",
        "description": "Models that you made yourself, one file each.",
        "properties": {CHECKPOINTS: FILES},
        "additionalProperties": False,
    }
    definitions["method"] = {
        **ENTRY,
        "properties": {METHOD: name_schema(methods.names(), user_defined=True)},
        "allOf": [{"if": _names_method(name), "then": {"$ref": f"#/$defs/method.{name}"}} for name in methods.names()],
    }
    return definitions


def or_checkpoints(schema: Schema) -> Schema:
    """Return the schema of a mapping that may list checkpoints instead."""
    return {"if": _HAS_CHECKPOINTS, "then": {"$ref": f"#/$defs/{CHECKPOINTS}"}, "else": schema}


def _names_method(name: str) -> Schema:
    return {"properties": {METHOD: {"const": name}}, "required": [METHOD]}


def method_entries() -> Schema:
    """Return the schema of `methods:`; an entry that sets `method` may have any name."""
    has_method, entry = {"required": [METHOD]}, {"$ref": "#/$defs/method"}
    sections = {
        name: {
            "description": summary(methods.get(name)),
            **or_checkpoints({"if": has_method, "then": entry, "else": {"$ref": f"#/$defs/method.{name}"}}),
        }
        for name in methods.names()
    }
    every = {"description": "Every built-in method without an entry.", **ENTRY}
    return {
        "type": OBJECT,
        "properties": {**sections, ALL: every},
        "additionalProperties": or_checkpoints(entry),
    }


def methods_are_known() -> Schema:
    """Require that an entry is named like a method or a user-defined function, or sets `method` or `checkpoints`."""
    known: dict[str, bool] = dict.fromkeys([*methods.names(), ALL], True)
    has_method = or_checkpoints({"type": "object", "required": [METHOD]})
    return {"properties": known, "patternProperties": {r"\.": True}, "additionalProperties": has_method}
