"""Read an experiment file: `extends`, `--set a.b=c`, and messages with file, line, key, value and what is allowed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from raybench import limits
from raybench.config.paths import resolve_paths
from raybench.config.schema import Experiment
from raybench.config.spaces import KINDS
from raybench.config.user_models import CHECKPOINTS
from raybench.config.validation import parse_experiment
from raybench.config.yaml_text import parse, quote
from raybench.errors import UserError, format_validation_error, nearest

Key = tuple[str, ...]
FILE_KEYS = ("extends", "smoke")  # keys of a file that are not part of the experiment


@dataclass(frozen=True)
class Source:
    """The merged content of a file and the files it extends, and the place where each key is written."""

    content: dict[str, Any]
    places: dict[Key, str]
    files: tuple[Path, ...] = ()  # the file, and those it extends, one after the other

    def place(self, key: Key) -> str:
        """Return "file:line" of the key, or of the nearest key around it that is written in a file."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.places:
                return self.places[key[:length]]
        return self.places.get((), "experiment")


def load_experiment(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Experiment, str]:
    """Return the validated experiment and its resolved text: YAML with `extends` and `--set` merged in.

    Raises UserError for a missing file, bad YAML, unknown keys and names, and values out of range.
    """
    return _resolved(read(Path(path)), overrides)


def experiment_of(content: dict[str, Any], overrides: Sequence[str] = ()) -> tuple[Experiment, str]:
    """Return the experiment of a file's content, as `load_experiment` does.

    `extends` and relative paths are looked up in the current folder; `content` may change.
    """
    return _resolved(_extended(Source(content, dict.fromkeys(_keys(content), "experiment")), Path.cwd(), ()), overrides)


def _keys(content: Any, key: Key = ()) -> Iterator[Key]:
    """Yield the key of every level of nested mappings."""
    yield key
    for name, value in content.items() if isinstance(content, dict) else ():
        yield from _keys(value, (*key, str(name)))


def _resolved(source: Source, overrides: Sequence[str]) -> tuple[Experiment, str]:
    source.content.pop("smoke", None)  # `raybench smoke` merges it before it loads the file
    for override in overrides:
        source = _override(source, override)
    source.content.pop("extends", None)
    resolve_paths(source.content, source.place)
    try:
        experiment = parse_experiment(source.content)
    except ValidationError as error:
        raise UserError("\n".join(_explain(error, source))) from error
    except UserError as error:
        raise UserError(_locate(error.key, str(error), source)) from error
    return experiment, yaml.safe_dump(source.content, sort_keys=False)


def read(path: Path, *, extended_by: tuple[tuple[Path, str], ...] = ()) -> Source:
    """Read a file and merge it into the file that it extends.

    `extended_by` is the chain of files that led to this one, each with the place of its `extends`.
    """
    prefix = f"{extended_by[-1][1]}: extends: " if extended_by else ""
    if len(extended_by) >= limits.FILES:
        raise UserError(f"{prefix}more than {limits.FILES} files extend each other")
    try:
        path = path.resolve()
        is_file = path.is_file()
    except (OSError, RuntimeError) as error:  # RuntimeError: symbolic links in a circle
        raise UserError(
            f"{prefix}experiment file {quote(str(path))!r} cannot be read: {getattr(error, 'strerror', error)}"
        ) from error
    if path in (file for file, _ in extended_by):
        chain = " -> ".join([*(file.name for file, _ in extended_by), path.name])
        raise UserError(f"{prefix}a file cannot extend itself: {chain}")
    if not is_file:
        raise UserError(f"{prefix}experiment file {str(path)!r} does not exist{_suggest_file(path, extended_by)}")
    content, node = read_yaml(path)
    if not isinstance(content, dict) or node is None:
        allowed = ", ".join(_allowed_keys(Experiment))
        raise UserError(f"{path}: an experiment file must be a mapping of keys to values (allowed: {allowed})")
    source = Source(content, {(): str(path), **_find_places(node, path, ())}, (path,))
    return _extended(source, path.parent, extended_by)


def _extended(source: Source, folder: Path, extended_by: tuple[tuple[Path, str], ...]) -> Source:
    """Merge a source into the file that it extends, if any; the path of that file is relative to `folder`."""
    if "extends" not in source.content:
        return source
    place, extends = source.place(("extends",)), source.content["extends"]
    if not isinstance(extends, str):
        raise UserError(f"{place}: extends = {extends!r}: must be the path of one file")
    own = tuple((file, place) for file in source.files)
    base = read(folder / extends, extended_by=(*extended_by, *own))
    return Source(merge(base.content, source.content), {**base.places, **source.places}, (*source.files, *base.files))


def read_yaml(path: Path) -> tuple[Any, yaml.Node | None]:
    """Return the content of a YAML file and its node (`yaml_text.parse`); raise UserError with file and line."""
    try:
        if (num_bytes := path.stat().st_size) > limits.FILE_BYTES:
            raise UserError(f"{path} has {num_bytes:,} bytes (allowed: {limits.FILE_BYTES:,})")
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}{_describe_yaml_error(error)}") from error


def _describe_yaml_error(error: Exception) -> str:
    """Return ":line: what is wrong", without the excerpt of the text that the parser adds."""
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark is not None else ""
    reasons = [reason for reason in (getattr(error, "context", None), getattr(error, "problem", None)) if reason]
    return f"{line}: not valid YAML: {', '.join(reasons) or error}"


def _suggest_file(path: Path, extended_by: tuple[tuple[Path, str], ...]) -> str:
    if not path.parent.is_dir():
        return ""
    others = {file.name for file in path.parent.glob("*.yaml")} - {file.name for file, _ in extended_by}
    close = nearest(path.name, sorted(others))
    return f"; did you mean {str(path.parent / close)!r}?" if close else ""


def _find_places(node: yaml.Node, path: Path, key: Key) -> dict[Key, str]:
    """Return "file:line" of every key below a node; raise UserError for a key that is written twice."""
    places: dict[Key, str] = {}
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            child = (*key, str(name.value))
            place = f"{path}:{name.start_mark.line + 1}"
            if child in places:
                raise UserError(f"{place}: {'.'.join(child)} is written twice (first: {places[child]}); remove one")
            places[child] = place
            places |= _find_places(value, path, child)
    return places


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge `changes` into `base`, mapping by mapping; null removes a mapping of the base.

    Where the changes name another forget rule or data set, the options of the old one are dropped; a search space
    replaces the old value as a whole, and so does a list of checkpoints an entry.
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if value is None and isinstance(old, dict):
            del merged[key]
        elif isinstance(value, dict) and isinstance(old, dict) and not _replaces(value, old):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def _replaces(new: dict[str, Any], old: dict[str, Any]) -> bool:
    if any(CHECKPOINTS in mapping or (len(mapping) == 1 and next(iter(mapping)) in KINDS) for mapping in (new, old)):
        return True
    return any(name in new and new[name] != old.get(name) for name in ("rule", "dataset"))


def _override(source: Source, override: str) -> Source:
    path, equals, text = override.partition("=")
    shown = quote(override)
    key = tuple(_split(path.strip(), source.content))
    if len(key) > limits.DEPTH:
        raise UserError(f"--set {shown!r}: more than {limits.DEPTH} keys within each other")
    if not equals or not all(key):
        raise UserError(f"--set {shown!r}: must be key.subkey=value, for example --set train.epochs=5")
    try:
        value = parse(text)[0]
    except yaml.YAMLError as error:
        raise UserError(f"--set {shown!r}{_describe_yaml_error(error)}") from error
    nested: Any = value
    for name in reversed(key):
        nested = {name: nested}
    # levels that only the override creates are placed there; a level that a file wrote keeps its line
    created = {key[:length]: f"--set {shown}" for length in range(1, len(key)) if key[:length] not in source.places}
    places = {**source.places, **created, key: f"--set {shown}"}
    return replace(source, content=merge(source.content, nested), places=places)


def _split(path: str, content: Any) -> Iterator[str]:
    """Split a key at its dots, but not inside an existing name: a user-defined method is `module.function`."""
    parts = path.split(".")
    while parts:
        lengths = [n for n in range(1, len(parts) + 1) if isinstance(content, dict) and ".".join(parts[:n]) in content]
        length = max(lengths, default=1)
        name = ".".join(parts[:length])
        yield name
        parts = parts[length:]
        content = content.get(name) if isinstance(content, dict) else None


def _allowed_keys(model: type[BaseModel]) -> list[str]:
    return [*model.model_fields, *(FILE_KEYS if model is Experiment else ())]


def _explain(error: ValidationError, source: Source) -> Iterator[str]:
    """Yield one message per wrong key: place, key, value, what is allowed, nearest name."""
    problems_by_key: dict[Key, list[ErrorDetails]] = {}
    for problem in _of_chosen_branches(error.errors()):
        cause = problem.get("ctx", {}).get("error")
        parts, unknown_key = list(problem["loc"]), problem["type"] == "extra_forbidden"
        last = [parts.pop()] if unknown_key else []  # a key of the file, whatever it looks like
        location = tuple(str(part) for part in [*(p for p in parts if not _is_union_branch(p)), *last])
        problems_by_key.setdefault(getattr(cause, "key", ()) or location, []).append(problem)
    for key, problems in problems_by_key.items():
        first = problems[0]
        message = format_validation_error(problems)
        if any(isinstance(problem.get("ctx", {}).get("error"), UserError) for problem in problems):
            yield _locate(key, message, source)
        elif first["type"] == "extra_forbidden":
            allowed = _allowed_keys(_model_at(key[:-1]))
            close = nearest(key[-1], allowed)
            guess = f"; did you mean {close!r}?" if close else ""
            yield _locate(key, f"unknown key{guess} (allowed here: {', '.join(allowed)})", source)
        elif first["type"] == "missing":
            yield _locate(key, "this key is required", source)
        else:
            yield f"{source.place(key)}: {'.'.join(key)} = {quote(repr(first['input']))}: {message}"


def _of_chosen_branches(problems: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out that a mapping is not a number where a union has a branch of mappings, which says what is wrong."""

    def is_other_branch(problem: ErrorDetails) -> bool:
        key, branch = problem["loc"][:-1], problem["loc"][-1]
        others = (other for other in problems if other is not problem and other["loc"][: len(key)] == key)
        is_number = problem["type"] == "int_type" and _is_union_branch(branch)
        return is_number and isinstance(problem["input"], dict) and any(others)

    return [problem for problem in problems if not is_other_branch(problem)]


def _locate(key: Key, message: str, source: Source) -> str:
    """Return the message after the place and the key it is about, unless it names the key itself."""
    name = ".".join(key)
    return f"{source.place(key)}: {message}" if name in message else f"{source.place(key)}: {name}: {message}"


def _is_union_branch(part: Any) -> bool:
    """Return whether a part of pydantic's location names a branch of a union, which is no key of the file."""
    return isinstance(part, str) and ("[" in part or part in ("int", "float", "constrained-int", "constrained-float"))


def _model_at(key: Key) -> type[BaseModel]:
    model: type[BaseModel] = Experiment
    for name in key:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        types = [t for t in (annotation, *getattr(annotation, "__args__", ())) if isinstance(t, type)]
        models = [t for t in types if issubclass(t, BaseModel)]
        if not models:
            return model
        model = models[0]
    return model
