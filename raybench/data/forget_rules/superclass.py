"""Forget all classes of one or more superclasses: the twenty of CIFAR-100, or those of a CSV file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from raybench.data.class_lists import parse_class
from raybench.data.files.csv_columns import need_column, read_csv
from raybench.data.forget_rules.framework.classes import class_id, samples_of
from raybench.data.forget_rules.framework.spec import Candidates, forget_rule
from raybench.data.formats.cifar100 import SUPERCLASSES
from raybench.errors import UserError, unknown


@forget_rule(source="the coarse labels of CIFAR-100, Krizhevsky 2009", counterpart="classes")
def superclass(
    candidates: Candidates, *, superclasses: str | Sequence[str], file: str | Path | None = None
) -> np.ndarray:
    """Select the samples of all classes that belong to any of `superclasses` (names).

    `file` is a CSV with columns class (id or name) and superclass; classes that it omits have no superclass. Without
    `file`, the dataset must be CIFAR-100.
    """
    class_names = candidates.class_names
    superclass_of = cifar100(class_names) if file is None else read_mapping(Path(str(file)).expanduser(), class_names)
    selected = [superclasses] if isinstance(superclasses, str) else [*superclasses]
    for name in selected:
        if name not in superclass_of.values():
            raise unknown("superclass", name, set(superclass_of.values()))
    classes = sorted(c for c, name in superclass_of.items() if name in selected)
    return samples_of(classes, candidates, rule="superclass")


def cifar100(class_names: tuple[str, ...]) -> dict[int, str]:
    """Map the class ids of CIFAR-100 to superclasses; spaces and underscores in class names are interchangeable."""
    of_class = {name: superclass for superclass, members in SUPERCLASSES.items() for name in members}
    superclass_of = {i: of_class.get(name.replace(" ", "_").lower(), "") for i, name in enumerate(class_names)}
    foreign = [class_names[i] for i, name in superclass_of.items() if not name]
    if foreign:
        raise UserError(
            f"forget rule 'superclass': {foreign[0]!r} is not a class of CIFAR-100, whose superclasses are built in; "
            "set `file`, a CSV with columns class and superclass"
        )
    return superclass_of


def read_mapping(path: Path, class_names: tuple[str, ...]) -> Mapping[int, str]:
    """Read {class id: superclass} from a CSV file."""
    if not path.is_file():
        raise UserError(f"forget rule 'superclass': no file {str(path)!r} (a CSV with columns class and superclass)")
    columns = read_csv(path)
    superclass_of: dict[int, str] = {}
    for text, name in zip(*(need_column(columns, [column], path=path) for column in ("class", "superclass"))):
        c = class_id(parse_class(text, class_names, str(path)), class_names, rule="superclass")
        if superclass_of.setdefault(c, name) != name:
            raise UserError(f"{path}: class {text} belongs to both {superclass_of[c]!r} and {name!r}")
    return superclass_of
