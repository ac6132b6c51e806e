"""Datasets: reading images, splitting them into roles, and batching them.

A format (`formats/`) is a function that reads one on-disk layout into an `ImageData` (`images.py`): pixels or encoded
files, labels, official splits and groups. `load` runs it by name. `splits.py` gives every sample a role; a forget rule
(`forget_rules/`) selects the forget set from the training samples. Reading (`reading/`) turns stored or encoded images
into batches on a device; transforms (`transforms/`) are the evaluation view, the training augmentation and the
normalization of a batch. Packing (`packing/`) rewrites any dataset as Parquet shards, which the format `packed` reads.
`files/` parses what formats consist of (folders, CSV, pickles), and `fixtures/` writes tiny generated datasets in the
layout of real ones.

To add a format, add a file to `formats/` with a function decorated with `@dataset`; its name is the name of the
function. To add a forget rule, do the same in `forget_rules/` with `@forget_rule`. A new augmentation is a field of
`Augment` in `transforms/augment.py`.
"""

import inspect
from pathlib import Path
from typing import Any

from raybench import registry
from raybench.data.images import DatasetSpec, ImageData
from raybench.errors import UserError, unknown

FORMATS = "raybench.data.formats"


def names() -> list[str]:
    """List the datasets of raybench, sorted."""
    return list(registry.discover(FORMATS, DatasetSpec))


def load(name: str, *, root: str | Path | None = None, download: bool = False, **options: Any) -> ImageData:
    """Read the dataset `name`: one of `names()`, or a decorated `package.module.function`.

    `root` is the folder of its files; datasets that ship with a dependency need none. Raises UserError for an unknown
    dataset or option, and for a missing folder, listing the files that it should contain.
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
        raise UserError(f"dataset {name!r} needs `root`, the folder that contains {spec.needs}")
    if spec.needs and folder is not None and not folder.is_dir() and not download:
        raise UserError(f"dataset {name!r}: root {str(folder)!r} is not a folder; it should contain {spec.needs}")
    data = function(folder, download=download, **options)
    if not isinstance(data, ImageData):
        raise UserError(f"dataset {name!r} returned {type(data).__name__}, not raybench.data.images.ImageData")
    return data


def may_be_shown(name: str) -> bool:
    """Return whether a report may show images of the dataset unless the user decides: public ones without faces."""
    return registry.spec_of(registry.find("dataset", name, FORMATS, DatasetSpec), DatasetSpec).public
