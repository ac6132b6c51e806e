"""The arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[
    Path, typer.Argument(help="Experiment file (YAML); see `raybench list experiments`.", show_default=False)
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key, e.g. --set train.epochs=5. May be repeated.",
        show_default=False,
    ),
]
Storage = Annotated[
    str, typer.Option(help="Where results go: a folder, or a URI such as s3://bucket/raybench (shared by all nodes).")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="A running Ray cluster: host:6379, ray://host:10001 or auto. Default: start one here.", show_default=False
    ),
]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Show what Ray and its workers say.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Run failed trials again instead of keeping their error.")]
RUNS = "runs"
