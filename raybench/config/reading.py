"""Read an experiment file: `extends`, `--set a.b=c`, and errors that say file, line, key, value and what is allowed."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from raybench.config.schema import Experiment
from raybench.config.spaces import KINDS
from raybench.errors import UserError, in_words, nearest

Key = tuple[str, ...]
PATHS = (("model", "checkpoint"), ("model", "init"), ("data", "root"), ("forget", "file"))  # they name files or folders


class Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-3 is a number (PyYAML, which follows YAML 1.1, reads text)."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Source:
    """The merged content of a file and those it extends, and where each key was written."""

    content: dict[str, Any]
    places: dict[Key, str]

    def place(self, key: Key) -> str:
        """Return "file:line" of the key, or of the nearest one around it."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.places:
                return self.places[key[:length]]
        return self.places.get((), "experiment")


def load_experiment(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Experiment, str]:
    """Return the validated experiment and its resolved text (everything that was extended and set, as YAML).

    Raises UserError for a missing file, bad YAML, unknown keys and names, values outside their range.
    """
    source = read(Path(path))
    source.content.pop("smoke", None)  # what `raybench smoke` puts over the rest
    for override in overrides:
        source = _override(source, override)
    source.content.pop("extends", None)
    _make_absolute(source)
    try:
        experiment = Experiment.model_validate(source.content)
    except ValidationError as error:
        raise UserError("\n".join(_explain(error, source))) from error
    return experiment, yaml.safe_dump(source.content, sort_keys=False)


def read(path: Path, *, extended: tuple[tuple[Path, str], ...] = ()) -> Source:
    """Read one file on top of the one that it extends; `extended` are the files that led here and their `extends`."""
    path = path.resolve()
    by = f"{extended[-1][1]}: extends: " if extended else ""
    if path in (file for file, _ in extended):
        raise UserError(f"{by}a file cannot extend itself: {' -> '.join(p.name for p, _ in extended)} -> {path.name}")
    if not path.is_file():
        raise UserError(f"{by}experiment file {str(path)!r} does not exist{_similar(path, extended)}")
    try:
        text = path.read_text(encoding="utf-8")
        content, node = yaml.load(text, Loader), yaml.compose(text, Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}{_yaml_fault(error)}") from error
    if not isinstance(content, dict) or node is None:
        raise UserError(f"{path}: an experiment file is a mapping of keys (allowed: {', '.join(_keys(Experiment))})")
    own = Source(content, {(): str(path), **_places(node, path, ())})
    if "extends" not in content:
        return own
    place = own.place(("extends",))
    if not isinstance(content["extends"], str):
        raise UserError(f"{place}: extends = {content['extends']!r}: it takes one path")
    base = read(path.parent / content["extends"], extended=(*extended, (path, place)))
    return Source(merge(base.content, own.content), {**base.places, **own.places})


def _yaml_fault(error: Exception) -> str:
    """Return ":line: what is wrong", without the parser's picture of the text."""
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark is not None else ""
    words = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    return f"{line}: not valid YAML: {', '.join(words) or error}"


def _similar(path: Path, extended: tuple[tuple[Path, str], ...]) -> str:
    if not path.parent.is_dir():
        return ""
    others = {p.name for p in path.parent.glob("*.yaml")} - {p.name for p, _ in extended}
    close = nearest(path.name, sorted(others))
    return f"; did you mean {str(path.parent / close)!r}?" if close else ""


def _places(node: yaml.Node, path: Path, key: Key) -> dict[Key, str]:
    found: dict[Key, str] = {}
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            here = (*key, str(name.value))
            if here in found:
                place = f"{path}:{name.start_mark.line + 1}"
                raise UserError(f"{place}: {'.'.join(here)} is written twice (first: {found[here]})")
            found[here] = f"{path}:{name.start_mark.line + 1}"
            found |= _places(value, path, here)
    return found


def merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Put `own` over `base`, mapping by mapping; null takes a mapping away.

    A new forget rule or data set takes none of the old one's options, a new search space nothing of the old one.
    """
    merged = dict(base)
    for key, value in own.items():
        old = merged.get(key)
        if value is None and isinstance(old, dict):
            del merged[key]
        elif isinstance(value, dict) and isinstance(old, dict) and not _replaces(value, old):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def _replaces(new: dict[str, Any], old: dict[str, Any]) -> bool:
    is_space = any(len(mapping) == 1 and next(iter(mapping)) in KINDS for mapping in (new, old))
    return is_space or any(name in new and new[name] != old.get(name) for name in ("rule", "dataset"))


def _override(source: Source, override: str) -> Source:
    path, equals, text = override.partition("=")
    key = tuple(_split(path.strip(), source.content))
    if not equals or not all(key):
        raise UserError(f"--set {override!r}: it takes key.subkey=value, for instance --set train.epochs=5")
    try:
        value = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override!r}{_yaml_fault(error)}") from error
    nested: Any = value
    for name in reversed(key):
        nested = {name: nested}
    # every level that the override brings is of its making; what the files wrote keeps its line
    made = {key[:length]: f"--set {override}" for length in range(1, len(key)) if key[:length] not in source.places}
    return Source(merge(source.content, nested), {**source.places, **made, key: f"--set {override}"})


def _make_absolute(source: Source) -> None:
    """Point relative paths to what lies beside the file that names them, else to what lies in the current folder.

    One that is in neither place stays as it is: whoever opens it says best what is missing.
    """
    sets = _at(source.content, ("evaluate", "downstream"))
    for *parents, name in (*PATHS, *(("evaluate", "downstream", given, "root") for given in sets)):
        part = _at(source.content, parents)
        value = part.get(name)
        if not isinstance(value, str) or Path(value).expanduser().is_absolute():
            continue
        place = source.place((*parents, name))
        beside = [] if place.startswith("--set") else [Path(place.rpartition(":")[0]).parent]
        found = next((folder / value for folder in (*beside, Path.cwd()) if (folder / value).exists()), None)
        if found is not None:
            part[name] = str(found)


def _at(content: Any, key: Sequence[str]) -> dict[str, Any]:
    """Return the mapping at a key, or an empty one where there is none."""
    for name in key:
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def _split(path: str, content: Any) -> Iterator[str]:
    """Split a key at its dots, but not inside a name that is there: a method of the user's own is `module.function`."""
    parts = path.split(".")
    while parts:
        known = [n for n in range(1, len(parts) + 1) if isinstance(content, dict) and ".".join(parts[:n]) in content]
        name = ".".join(parts[: max(known, default=1)])
        yield name
        parts = parts[max(known, default=1) :]
        content = content.get(name) if isinstance(content, dict) else None


def _keys(model: type[BaseModel]) -> list[str]:
    return [*model.model_fields, "extends", "smoke"] if model is Experiment else list(model.model_fields)


def _explain(error: ValidationError, source: Source) -> Iterator[str]:
    """Say what is wrong in the user's words: place, key, given value, what is allowed, nearest name."""
    problems: dict[Key, list[ErrorDetails]] = {}
    for problem in error.errors():
        raised = problem.get("ctx", {}).get("error")
        at = tuple(str(part) for part in problem["loc"] if not _is_branch(part))
        problems.setdefault(getattr(raised, "key", ()) or at, []).append(problem)
    for key, found in problems.items():
        place, name = source.place(key), ".".join(key)
        if any(isinstance(problem.get("ctx", {}).get("error"), UserError) for problem in found):
            words = in_words(found)  # such an error says itself what was given
            yield f"{place}: {words}" if name in words else f"{place}: {name}: {words}"
        elif found[0]["type"] == "extra_forbidden":
            allowed = _keys(_model_at(key[:-1]))
            close = nearest(key[-1], allowed)
            guess = f"; did you mean {close!r}?" if close else ""
            yield f"{place}: {name}: unknown key{guess} (allowed here: {', '.join(allowed)})"
        elif found[0]["type"] == "missing":
            yield f"{place}: {name}: this key is required"
        else:
            yield f"{place}: {name} = {found[0]['input']!r}: {in_words(found)}"


def _is_branch(part: Any) -> bool:
    """Pydantic adds the names of a union's branches to a location; they are no keys of the file."""
    return isinstance(part, str) and ("[" in part or part in ("int", "float", "constrained-int", "constrained-float"))


def _model_at(key: Key) -> type[BaseModel]:
    model: type[BaseModel] = Experiment
    for name in key:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        inner = [t for t in (annotation, *getattr(annotation, "__args__", ())) if isinstance(t, type)]
        models = [t for t in inner if issubclass(t, BaseModel)]
        if not models:
            return model
        model = models[0]
    return model
