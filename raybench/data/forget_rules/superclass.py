"""Forget every class of one superclass or several: CIFAR-100's twenty, or those that a file tells."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from raybench.data.class_lists import entry
from raybench.data.files.csv_columns import need_column, read_csv
from raybench.data.forget_rules.class_ import class_id, samples_of
from raybench.data.forget_rules.spec import Candidates, forget_rule
from raybench.data.formats.cifar100 import SUPERCLASSES
from raybench.errors import UserError, unknown


@forget_rule(source="the coarse labels of CIFAR-100, Krizhevsky 2009")
def superclass(
    candidates: Candidates, *, superclasses: str | Sequence[str], file: str | Path | None = None
) -> np.ndarray:
    """Select the samples of all classes that belong to any of `superclasses`, given by name.

    `file` is a CSV with the columns class (id or name) and superclass; classes that it does not name belong to none.
    Without one the dataset should be CIFAR-100.
    """
    names = candidates.class_names
    belongs = cifar100(names) if file is None else read_mapping(Path(str(file)).expanduser(), names)
    wanted = [superclasses] if isinstance(superclasses, str) else [*superclasses]
    for name in wanted:
        if name not in belongs.values():
            raise unknown("superclass", name, set(belongs.values()))
    classes = sorted(c for c, name in belongs.items() if name in wanted)
    return samples_of(classes, candidates, rule="superclass")


def cifar100(class_names: tuple[str, ...]) -> dict[int, str]:
    """Map the class ids of CIFAR-100 to its superclasses; blanks and underscores in names are the same."""
    of_class = {name: superclass for superclass, members in SUPERCLASSES.items() for name in members}
    found = {i: of_class.get(name.replace(" ", "_").lower(), "") for i, name in enumerate(class_names)}
    strange = [class_names[i] for i, name in found.items() if not name]
    if strange:
        raise UserError(
            f"forget rule 'superclass': {strange[0]!r} is no class of CIFAR-100, whose superclasses are built in; give "
            "`file`, a CSV with the columns class and superclass"
        )
    return found


def read_mapping(path: Path, class_names: tuple[str, ...]) -> Mapping[int, str]:
    """Read {class id: superclass} from a CSV file."""
    if not path.is_file():
        raise UserError(f"forget rule 'superclass': no file {str(path)!r} (a CSV with the columns class, superclass)")
    columns = read_csv(path)
    found: dict[int, str] = {}
    pairs = zip(*(need_column(columns, [name], path=path) for name in ("class", "superclass")))
    for text, name in pairs:
        c = class_id(entry(text, class_names, str(path)), class_names, rule="superclass")
        if found.setdefault(c, name) != name:
            raise UserError(f"{path}: class {text} belongs to both {found[c]!r} and {name!r}")
    return found
