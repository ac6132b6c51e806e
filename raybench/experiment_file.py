"""Read an experiment file: `extends`, `--set a.b=c`, and errors that say file, line, key, value and what is allowed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from raybench.errors import UserError, nearest
from raybench.experiment import Experiment
from raybench.spaces import KINDS

Key = tuple[str, ...]


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
    for override in overrides:
        source = _override(source, override)
    source.content.pop("extends", None)
    try:
        experiment = Experiment.model_validate(source.content)
    except ValidationError as error:
        raise UserError(_explain(error, source)) from error
    return experiment, yaml.safe_dump(source.content, sort_keys=False)


def read(path: Path, *, seen: tuple[Path, ...] = ()) -> Source:
    """Read one file on top of the one that it extends."""
    path = path.resolve()
    if path in seen:
        raise UserError(f"{path}: extends itself by way of {' -> '.join(p.name for p in seen)}")
    if not path.is_file():
        raise UserError(f"experiment file {str(path)!r} does not exist{_similar(path)}")
    text = path.read_text(encoding="utf-8")
    try:
        content, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict) or node is None:
        raise UserError(f"{path}: an experiment file is a mapping of keys (allowed: {', '.join(_keys(Experiment))})")
    own = Source(content, {(): str(path), **_places(node, path, ())})
    if "extends" not in content:
        return own
    if not isinstance(content["extends"], str):
        raise UserError(f"{own.place(('extends',))}: extends = {content['extends']!r}: it takes one path")
    base = read(path.parent / content["extends"], seen=(*seen, path))
    return Source(_merge(base.content, own.content), {**base.places, **own.places})


def _similar(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    close = nearest(path.name, [p.name for p in path.parent.glob("*.yaml")])
    return f"; did you mean {str(path.parent / close)!r}?" if close else ""


def _places(node: yaml.Node, path: Path, key: Key) -> dict[Key, str]:
    found: dict[Key, str] = {}
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            here = (*key, str(name.value))
            found[here] = f"{path}:{name.start_mark.line + 1}"
            found |= _places(value, path, here)
    return found


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Put `own` over `base`, mapping by mapping; a new forget rule or data set takes none of the old one's options."""
    merged = dict(base)
    for key, value in own.items():
        old = merged.get(key)
        mappings = isinstance(value, dict) and isinstance(old, dict)
        is_space = mappings and any(len(m) == 1 and next(iter(m)) in KINDS for m in (value, old))
        renamed = mappings and any(name in value and value[name] != old.get(name) for name in ("rule", "dataset"))
        merged[key] = _merge(old, value) if mappings and not is_space and not renamed else value  # type: ignore[arg-type]
    return merged


def _override(source: Source, override: str) -> Source:
    path, equals, text = override.partition("=")
    key = tuple(path.strip().split("."))
    if not equals or not all(key):
        raise UserError(f"--set {override!r}: it takes key.subkey=value, for instance --set train.epochs=5")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override!r}: the value is not valid YAML: {error}") from error
    nested: Any = value
    for name in reversed(key):
        nested = {name: nested}
    return Source(_merge(source.content, nested), {**source.places, key: f"--set {override}"})


def _keys(model: type[BaseModel]) -> list[str]:
    return [*model.model_fields, "extends"] if model is Experiment else list(model.model_fields)


def _explain(error: ValidationError, source: Source) -> str:
    """Say what is wrong in the user's words: place, key, given value, what is allowed, nearest name."""
    lines = []
    for problem in error.errors():
        key = tuple(str(part) for part in problem["loc"] if not _is_branch(part))
        given, message = problem["input"], problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            allowed = _keys(_model_at(key[:-1]))
            close = nearest(key[-1], allowed)
            guess = f"; did you mean {close!r}?" if close else ""
            message = f"unknown key{guess} (allowed here: {', '.join(allowed)})"
        elif problem["type"] == "missing":
            message = "this key is required"
        value = "" if isinstance(given, dict) or not key else f" = {given!r}"
        lines.append(f"{source.place(key)}: {'.'.join(key)}{value}: {message}".replace(": : ", ": "))
    return "\n".join(dict.fromkeys(lines))


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
