"""Datasets, splits and batches: where samples come from, what each is for, and how they reach a model.

A dataset is a function in a file of its own that reads one on-disk format into an `ImageData`; its name is the
function's. `load` finds it, checks what the user gave, and says what is missing.
"""

import inspect
from pathlib import Path
from typing import Any

from raybench import registry
from raybench.data.images import DatasetSpec, ImageData
from raybench.errors import UserError, unknown

FORMATS = "raybench.data.formats"


def names() -> list[str]:
    """List the datasets that raybench ships, sorted."""
    return list(registry.discover(FORMATS, DatasetSpec))


def load(name: str, *, root: str | Path | None = None, download: bool = False, **options: Any) -> ImageData:
    """Read the dataset called `name`: one of `names()`, or any importable `package.module.function` marked as one.

    `root` is the folder that holds its files; datasets that come with a dependency need none. Raises UserError for an
    unknown dataset or option, and for a missing folder, naming the files that are expected in it.
    """
    function = registry.find("dataset", name, FORMATS, DatasetSpec)
    spec = registry.spec_of(function, DatasetSpec)
    parameters = inspect.signature(function).parameters.values()
    allowed = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"download"}
    for option in options:
        if option not in allowed:
            raise unknown(f"option of dataset {name!r}:", option, allowed)
    folder = None if root is None else Path(root).expanduser()
    if spec.needs and folder is None:
        raise UserError(f"dataset {name!r} needs `root`, the folder that holds {spec.needs}")
    if spec.needs and folder is not None and not folder.is_dir() and not download:
        raise UserError(f"dataset {name!r}: root {str(folder)!r} is not a folder; it should hold {spec.needs}")
    data = function(folder, download=download, **options)
    if not isinstance(data, ImageData):
        raise UserError(f"dataset {name!r} returned {type(data).__name__}, not raybench.data.images.ImageData")
    return data
