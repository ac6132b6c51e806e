"""The JSON schema of experiment files, from which editors complete and check them.

    python -m raybench.docgen.json_schema > experiment.schema.json

Pydantic derives it from the sections of `raybench.config`. This module adds what the sections cannot express: names of
data sets, rules, models, methods, metrics and tables with their options, search spaces, `extends` and `smoke`.

A file may extend another, so every section may be partial. Only a file with a `name` and no `extends` must be complete.
"""

import json
from collections.abc import Mapping
from typing import Any

from raybench.config.schema import Experiment
from raybench.data import fixtures
from raybench.docgen.plugin_schemas import (
    OBJECT,
    TIMM,
    Schema,
    dataset_options,
    is_field,
    method_definitions,
    method_entries,
    methods_are_known,
    metric_values,
    name_schema,
    names_of,
    or_checkpoints,
    properties,
    rule_options,
    search_spaces,
)
from raybench.engine.training import Recipe

ANNOTATIONS = ("names", "keys_of")  # of a field of a section, about its values; see `_complete`
EXTENDS = {
    "type": "string",
    "description": "Path of another experiment file, relative to this one. This file is merged over it.",
}
SMOKE = "Changes that make the experiment run in a minute: `raybench smoke` merges them over the file."
FIXTURE = "Options of the generated data sets that `raybench smoke` writes, by data set."


def experiment_schema() -> Schema:
    """Return the JSON schema of an experiment file, of draft 7, which editors support."""
    root = Experiment.model_json_schema()
    definitions = root.pop("$defs")
    required = _required(root, definitions)
    definitions["Recipe"] = {"type": "object", "properties": properties(Recipe), "additionalProperties": False}
    for definition in definitions.values():
        definition.pop("required", None)
    root["properties"] = {name: _complete(fragment) for name, fragment in root["properties"].items()}
    definitions = {name: _complete(definition) for name, definition in definitions.items()}
    definitions |= search_spaces() | method_definitions()
    _add_options(definitions, "Forget", "rule", rule_options())
    for name in ("Data", "Downstream"):
        _add_options(definitions, name, "dataset", dataset_options(), under="options")
    sections = {name: {"$ref": f"#/properties/{name}"} for name in root["properties"]}
    smoke = {"type": OBJECT, "description": SMOKE, "additionalProperties": False}
    root["properties"] |= {"extends": EXTENDS, "smoke": smoke | {"properties": sections | {"fixture": _fixtures()}}}
    standalone = {"not": {"required": ["extends"]}}
    root.pop("required")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **root,
        "title": "raybench experiment",
        "allOf": [
            {"if": {**standalone, "required": ["name"]}, "then": required},
            {"if": standalone, "then": {"properties": {"methods": methods_are_known()}}},
        ],
        "$defs": definitions,
    }


def _complete(fragment: Any) -> Any:
    """Replace the annotations of fields with the names they refer to, drop titles, and let every mapping be null."""
    if isinstance(fragment, list):
        return [_complete(item) for item in fragment]
    if not isinstance(fragment, dict):
        return fragment
    kept = {
        key: _complete(value)
        for key, value in fragment.items()
        if key not in (*ANNOTATIONS, "title") or is_field(value)
    }
    if kept.get("anyOf", [None])[-1:] == [{"type": "null"}] and "$ref" in kept["anyOf"][0]:
        kept |= kept.pop("anyOf")[0]  # the definition of a section allows null
    if kept.get("type") == "object":
        kept["type"] = OBJECT
    if "$ref" in kept and isinstance(kept.get("default"), dict):
        del kept["default"]  # every key of the section has its own default
    kind = fragment.get("names")
    if kind == "metrics":
        del kept["anyOf"]
        return kept | metric_values()
    if isinstance(kind, str):
        del kept["type"]
        names = name_schema(names_of(kind), user_defined=kind not in ("tables", "objectives"))
        return kept | ({"anyOf": [*names["anyOf"], TIMM]} if kind == "models" else names)
    if fragment.get("keys_of") == "recipe":
        about = {key: kept[key] for key in ("description", "default")}
        return about | or_checkpoints({"$ref": "#/$defs/Recipe"})
    if fragment.get("keys_of") == "methods":
        return {"description": kept["description"]} | method_entries()
    return kept


def _required(section: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return a schema that checks only for the required keys of a section and of the sections below it."""
    below: Schema = {}
    for name, fragment in section.get("properties", {}).items():
        for branch in (fragment, *fragment.get("anyOf", ())):
            if "$ref" in branch:
                inner = _required(definitions[branch["$ref"].removeprefix("#/$defs/")], definitions)
                below |= {name: inner} if inner else {}
    keys = {"required": section["required"]} if section.get("required") else {}
    return keys | ({"properties": below} if below else {})


def _add_options(
    definitions: dict[str, Schema], section: str, key: str, options: Mapping[str, Schema], *, under: str | None = None
) -> None:
    """Restrict a section to the options of the plug-in that its `key` names; user-defined plug-ins take any."""
    branches = []
    for name, fragments in options.items():
        allowed: Schema = {"properties": fragments, "additionalProperties": False}
        if under is None:
            allowed["properties"] = {key: True, **fragments}
        branches.append(
            {
                "if": {"properties": {key: {"const": name}}, "required": [key]},
                "then": allowed if under is None else {"properties": {under: allowed}},
            }
        )
    definitions[section]["allOf"] = branches


def _fixtures() -> Schema:
    options = {name: {"type": OBJECT} for name in fixtures.names()}
    return {"type": OBJECT, "description": FIXTURE, "properties": options, "additionalProperties": False}


def schema_text() -> str:
    """Return the JSON schema as text."""
    return json.dumps(experiment_schema(), indent=1) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
