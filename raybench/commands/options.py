"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from raybench.commands import completion

RUNS = "runs"

File = Annotated[
    Path,
    typer.Argument(
        help="Experiment file (YAML). `raybench list experiments` shows examples, `raybench init` writes one.",
        autocompletion=completion.experiment_files,
        show_default=False,
    ),
]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="NAME: the newest run of this name in the storage. NAME/FINGERPRINT: a certain run; the first digits are "
        "enough. Or an experiment file, for its name.",
        autocompletion=completion.runs,
        show_default=False,
    ),
]
NewFile = Annotated[Path, typer.Argument(help="File to write; it must not exist.")]
InitData = Annotated[
    str,
    typer.Option(
        help="Data set: digits, folder:PATH, manifest:FILE, or NAME:PATH with a name of `raybench list datasets`."
    ),
]
InitForget = Annotated[
    str,
    typer.Option(help="What to forget: random, random:0.1, random:100, class, class:NAME or identity:COUNT."),
]
InitMethods = Annotated[
    str | None,
    typer.Option(
        metavar="A,B", help="Methods, each searched over its shipped ranges. Default: four of them.", show_default=False
    ),
]
Listed = Annotated[
    Literal["methods", "settings", "metrics", "datasets", "models", "rules", "experiments", "tables"],
    typer.Argument(help="What to list. settings: what every method accepts.", show_default=False),
]
ListedName = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="Print the page of this name, or list the names that contain it.",
        autocompletion=completion.listed_names,
        show_default=False,
    ),
]
Needs = Annotated[
    str | None,
    typer.Option(help="Only what needs this, e.g. retrained or convolution; none: what needs nothing."),
]
Source = Annotated[
    str | None, typer.Option(help="Only what comes from this paper: a part of its reference, or e.g. uuef.")
]
Find = Annotated[str | None, typer.Option(help="Only what contains this text in its entry.")]
MethodOfRun = Annotated[
    str,
    typer.Option(
        help="Unlearning method of the run, or original, or retrained.",
        autocompletion=completion.method_names,
        show_default=False,
    ),
]
Dataset = Annotated[
    str,
    typer.Argument(
        help="Data set: a name of `raybench list datasets`, or your own function.",
        autocompletion=completion.dataset_names,
        show_default=False,
    ),
]
DatasetOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Option of the data set format, e.g. domain=Art. Repeatable."),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Number of decoding threads. Default: one per core.", show_default=False)
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
        help="Ray cluster to use: host:6379 or auto. Default: start a local Ray.",
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
Out = Annotated[
    str, typer.Option(help="HTML file to write, on disk or as a URI. A Parquet table of the same name goes beside it.")
]
Thumbnails = Annotated[
    bool | None,
    typer.Option(
        "--thumbnails/--no-thumbnails",
        help="Show pictures of the most exposed forget samples in report.html. Default: only those of public data sets "
        "without faces.",
        show_default=False,
    ),
]
RequestId = Annotated[
    str, typer.Option(metavar="ID", help="Id of the request to forget, for the page.", show_default=False)
]
Operator = Annotated[str, typer.Option(metavar="NAME", help="Who did this, for the page.", show_default=False)]
Date = Annotated[
    str | None, typer.Option(metavar="YYYY-MM-DD", help="Date for the page. Default: today.", show_default=False)
]
Digest = Annotated[
    str | None,
    typer.Option(
        help="Digest on your printed or signed copy of the page. Without it, a folder that someone rewrote as a whole, "
        "hashes included, passes.",
        show_default=False,
    ),
]
HeldImages = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Images to compare with the hashes of the forgotten ones: the data set, or any folder of image files.",
        show_default=False,
    ),
]
HeldModel = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Checkpoint, for instance the deployed one, to compare with the certified weights.",
        show_default=False,
    ),
]


def run_name(run: str) -> str:
    """Return NAME or NAME/FINGERPRINT; `run` is that itself, or an experiment file, which has a name."""
    if not run.endswith((".yaml", ".yml")):
        return run
    from raybench.config.reading import load_experiment

    return load_experiment(run)[0].name
