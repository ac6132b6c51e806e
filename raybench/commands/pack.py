"""`raybench pack`: load a data set, pack it into Parquet shards, and show progress."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from raybench import data
from raybench.config.yaml_text import parse
from raybench.data.packing.pack import pack
from raybench.errors import UserError
from raybench.progress import Reporter


def pack_dataset(
    name: str,
    out: Path,
    *,
    reporter: Reporter,
    root: Path | None = None,
    options: Iterable[str] = (),
    workers: int | None = None,
) -> None:
    """Pack the data set `name` into the folder `out`; `options` are KEY=VALUE strings with YAML values."""
    images = data.load(name, root=root, **dict(parse_option(text) for text in options))
    with reporter.stage("pack", "images", total=images.num_samples) as stage:
        pack(images, out.expanduser(), workers=workers, progress=stage.advance)
    reporter.print(f"packed into {out}; use it with `data: {{dataset: packed, root: {out}}}`")


def parse_option(text: str) -> tuple[str, Any]:
    """Split KEY=VALUE and parse the value as YAML."""
    key, equals, value = text.partition("=")
    if not key.strip() or not equals:
        raise UserError(f"--option {text!r}: expected KEY=VALUE, for instance --option domain=Art")
    try:
        return key.strip(), parse(value)[0]
    except yaml.YAMLError as error:
        raise UserError(f"--option {text!r}: the value is not valid YAML: {error}") from error
