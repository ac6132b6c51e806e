"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

RUNS = "runs"

File = Annotated[
    Path,
    typer.Argument(help="Experiment file (YAML). `raybench list experiments` shows examples.", show_default=False),
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Name of a run in the storage, or its experiment file.", show_default=False)
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a value of the experiment file, e.g. --set train.epochs=5. The value is YAML. Repeatable.",
        show_default=False,
    ),
]
Storage = Annotated[
    str,
    typer.Option(
        help="Where results are stored: a folder, or a URI such as s3://bucket/raybench. On a cluster, every node "
        "must be able to write to it."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster to use: host:6379, ray://host:10001 or auto. Default: start a local Ray.",
        show_default=False,
    ),
]
Until = Annotated[
    Literal["train", "sweep", "evaluate", "report"],
    typer.Option(
        help="Stop after this stage. train: original and retrained models. sweep: hyperparameter search, then runs of "
        "the best settings. evaluate: predictions and metrics. report: tables, leaderboard and evidence."
    ),
]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Show the log messages of Ray.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json = Annotated[
    bool,
    typer.Option("--json", help="Write one JSON object per line to stdout (docs/events.md); text goes to stderr."),
]
Dashboard = Annotated[
    bool, typer.Option("--dashboard", help="Start the dashboard of a local Ray and print its address.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Rerun failed trials. By default their error is kept.")
]
