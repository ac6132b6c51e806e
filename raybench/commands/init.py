"""`raybench init`: write a commented experiment file that is valid and runs as it is.

The comments are the descriptions of the fields, those of docs/experiment.md. Keys that matter for a first run are set;
the others follow as comments with their defaults.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel

from raybench import data, methods, registry
from raybench.config.data import Data, Sizes
from raybench.config.evaluate import Evaluate
from raybench.config.names import check_run_name
from raybench.config.schema import SEARCH, Experiment, Model, Resources, Train
from raybench.config.sweep import Sweep
from raybench.data import forget_rules
from raybench.data.forget_rules.framework.spec import ForgetRuleSpec
from raybench.data.images import LEFT_OUT, TRAIN, ImageData
from raybench.data.reading.encoded import Encoded
from raybench.data.splits import make_splits
from raybench.docgen.docstrings import summary
from raybench.docgen.experiment_page import allowed, fragments
from raybench.docgen.markdown import default_value
from raybench.errors import UserError, unknown
from raybench.methods.framework.spec import MethodSpec

WIDTH = 100
FOLDERS = {"folder": "image_folder"}  # short names of formats for --data
DIGITS = {  # of the quickstart: small, easy data, which models memorize only where labels are wrong
    "sizes": {"train": 600, "validation": 240, "calibration": 200, "test": 357, "unseen": 400},
    "mislabel": {"fraction": 0.1},
}
ONE_PART = {"train": None, "validation": 0.1, "calibration": 0.1, "test": 0.15, "unseen": 0.15}
VIEW = {"size": 64, "resize": 72}
METHODS = ("finetune", "neggrad_plus", "random_label", "scrub")
SECTIONS: Mapping[str, type[BaseModel]] = {
    "data": Data,
    "model": Model,
    "train": Train,
    "sweep": Sweep,
    "evaluate": Evaluate,
    "resources": Resources,
}
HIDDEN = {"seed", "download"}  # keys that a first reader does not need


def write_experiment(file: Path, source: str = "digits", forget: str = "random", names: str | None = None) -> str:
    """Write the experiment file; return what to do next. Raise UserError for a file that exists and a wrong option."""
    if file.suffix not in (".yaml", ".yml"):
        raise UserError(f"{file}: the name of an experiment file ends in .yaml")
    if file.exists():
        raise UserError(f"{file} exists and is left as it is; name another file: raybench init {_free(file)}")
    text = experiment_text(_run_name(file), source, forget, names)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("x", encoding="utf-8") as stream:
        stream.write(text)
    return f"wrote {file}; next: raybench check {file}, then raybench run {file}"


def experiment_text(name: str, source: str, forget: str, names: str | None = None) -> str:
    """Return the experiment as commented YAML."""
    content, images = _data(source)
    request = _forget(forget, images)
    if request["rule"] == "class":
        content.pop("mislabel", None)  # a class is forgotten by its labels; wrong ones would hide it
    values: dict[str, Any] = {
        "name": name,
        "data": content,
        "forget": request,
        "model": {"name": "cnn", "width": 16},
        "train": {"epochs": 30, "lr": 0.1, "batch_size": 64, "retrained_seeds": 8},
        "methods": _methods(names),
        "sweep": {"trials": 8, "tuning_request": _tuning_request(content, request, images), "seeds": 5},
        "evaluate": {"metrics": "all", "alphas": [0.2, 0.1, 0.05]},
        "resources": {"device": "auto"},
    }
    return "\n".join(_lines(values)) + "\n"


def _lines(values: Mapping[str, Any]) -> Iterator[str]:
    yield from _comment(
        "An experiment of raybench. `raybench check FILE` validates it and prints the plan, `raybench run FILE` runs "
        "it. A key behind # has that default; delete the # to change it. Names that can be used: raybench list "
        "methods (metrics, datasets, models, rules); one page on a name: raybench list methods scrub. All keys: "
        "docs/experiment.md."
    )
    described = fragments(Experiment)
    for key, value in values.items():
        yield ""
        yield from _comment(_described(described[key], NOTES.get(key, "")))
        if not isinstance(value, dict):
            yield f"{key}: {_flow(value)}"
            continue
        yield f"{key}:"
        if key in SECTIONS:
            yield from _section(SECTIONS[key], value)
        else:
            for name, entry in value.items():
                yield from _comment(_about(key, name), 2)
                yield f"  {name}: {_flow(entry)}"


def _section(model: type[BaseModel], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys of a section: those with a value, then the others as comments with their defaults."""
    described = fragments(model)
    for key, value in values.items():
        yield from _comment(f"{_described(described[key])} ({_words(allowed(described[key]))})", 2)
        yield f"  {key}: {_flow(value)}"
    for key, fragment in described.items():
        if key in values or key in HIDDEN or "$ref" in fragment or isinstance(fragment.get("default"), dict):
            continue
        yield from _comment(f"{_described(fragment)} ({_words(allowed(fragment))})", 2)
        yield f"  #{key}: {default_value(fragment)}"


NOTES = {
    "methods": "Here, `search` takes the search ranges that are shipped with a method. Values of your own: "
    "scrub: {lr: {loguniform: [0.01, 0.1]}, epochs: 5}",
    "forget": "Rules and their options: raybench list rules.",
}


def _about(section: str, name: str) -> str:
    """Return what a method of the file does; nothing for the options of the forget rule."""
    return summary(methods.get(name)) if section == "methods" else ""


def _described(fragment: Mapping[str, Any], note: str = "") -> str:
    text = str(fragment.get("description", "")).rstrip(".")
    return _words(". ".join(part for part in (f"{text[:1].upper()}{text[1:]}", note) if part))


def _words(text: str) -> str:
    return text.replace("`", "")


def _comment(text: str, indent: int = 0) -> Iterator[str]:
    start = " " * indent + "# "
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
    )


def _flow(value: Any) -> str:
    if value == {}:
        return "{}"
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()


def _data(source: str) -> tuple[dict[str, Any], ImageData]:
    """Return the section `data` for --data, and the images."""
    kind, _, root = source.partition(":")
    name = FOLDERS.get(kind, kind)
    path = Path(root).expanduser() if root else None
    options: dict[str, Any] = {}
    if name == "manifest" and path is not None and path.is_file():
        options, path = {"file": path.name}, path.parent
    try:
        images = data.load(name, root=path, **options)
    except UserError as error:
        hint = "digits, folder:PATH, manifest:FILE, or NAME:PATH with a name of `raybench list datasets`"
        raise UserError(f"--data {source!r}: {error} ({hint})") from error
    content: dict[str, Any] = {"dataset": name}
    if path is not None:
        content["root"] = str(path)
    if options:
        content["options"] = options
    if isinstance(images.images, Encoded):
        content["view"] = dict(VIEW)
    if name == "digits":
        return {**content, **DIGITS}, images
    parts = set(np.unique(images.part).tolist()) - {LEFT_OUT}
    content["sizes"] = dict(ONE_PART) if parts == {TRAIN} else {"train": None, "validation": 0.1, "test": None}
    return content, images


def _forget(text: str, images: ImageData) -> dict[str, Any]:
    """Return the section `forget` for --forget, `RULE` or `RULE:VALUE`."""
    rule, _, value = text.partition(":")
    registry.find("forget rule", rule, forget_rules.PACKAGE, ForgetRuleSpec)
    if rule == "class":
        return {"rule": "class", "classes": [_class(value, images)]}
    if rule == "identity" and images.groups is None:
        raise UserError("--forget identity: the data set has no groups (identities), such as a column `group`")
    if rule in ("random", "identity"):
        return {"rule": rule, **(_amount(value) if value else {"fraction": 0.2 if rule == "random" else 0.1})}
    raise UserError(
        f"--forget {text!r}: init writes the rules class, identity and random; write the others into the file "
        f"(raybench list rules {rule}; docs/bring-your-own.md for a list of ids and a checkpoint)"
    )


def _tuning_request(content: Mapping[str, Any], request: Mapping[str, Any], images: ImageData) -> str:
    """Return `separate` where the data have room for a second deletion request; raise UserError for a bad split."""
    sizes = Sizes.model_validate(content["sizes"]).model_dump()
    make_splits(images, sizes, request, seed=0)
    try:
        make_splits(images, sizes, request, seed=0, tuning_request=True)
    except UserError:
        return "same"
    return "separate"


def _class(value: str, images: ImageData) -> int | str:
    names = images.class_names
    if not value:
        return names[0] if not names[0].isdigit() else 0
    if value not in names and not (value.isdigit() and int(value) < len(names)):
        raise unknown("class", value, names)
    return int(value) if value.isdigit() else value


def _amount(value: str) -> dict[str, Any]:
    """Return `count` for a whole number and `fraction` for a number below 1."""
    if value.isdigit() and int(value) > 0:
        return {"count": int(value)}
    try:
        fraction = float(value)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction < 1:
        raise UserError(f"--forget: {value!r} must be a whole number of samples, or a fraction between 0 and 1")
    return {"fraction": fraction}


def _methods(names: str | None) -> dict[str, Any]:
    """Return the section `methods`: every name with its shipped ranges, if it has any."""
    chosen = [name.strip() for name in names.split(",") if name.strip()] if names is not None else [*METHODS]
    if not chosen:
        raise UserError(f"--methods {names!r}: name at least one method, as in --methods {','.join(METHODS)}")
    return {name: SEARCH if registry.spec_of(methods.get(name), MethodSpec).search else {} for name in chosen}


def _run_name(file: Path) -> str:
    return check_run_name(re.sub(r"[^A-Za-z0-9._-]", "_", file.stem).lstrip(".-") or "experiment")


def _free(file: Path) -> Path:
    """Return a name next to the file that is not taken."""
    return next(
        path for i in range(2, 10_000) if not (path := file.with_name(f"{file.stem}_{i}{file.suffix}")).exists()
    )
