"""The command line: parse arguments, load the experiment file, and call the pipeline."""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from raybench import __version__
from raybench.commands.options import (
    RUNS,
    Address,
    Dashboard,
    File,
    Json,
    Quiet,
    RetryFailed,
    RunName,
    Set,
    Storage,
    Until,
    Verbose,
)
from raybench.errors import UserError, printable
from raybench.registry import MODULES

app = typer.Typer(
    name="raybench",
    help="Evaluate machine unlearning of image classifiers, on a laptop or a Ray cluster.\n\n"
    "raybench trains an original model and retrained references, tunes unlearning methods under an equal budget, and "
    "measures what the unlearned models still remember.\n\n"
    "Start with: raybench run experiments/quickstart.yaml",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"raybench {__version__}")
        raise typer.Exit


@app.command()
def run(
    file: File,
    until: Until = "report",
    set_: Set = None,
    storage: Storage = RUNS,
    address: Address = None,
    verbose: Verbose = 0,
    quiet: Quiet = False,
    retry_failed: RetryFailed = False,
    json_: Json = False,
    dashboard: Dashboard = False,
) -> None:
    """Run an experiment: train, sweep, evaluate, report.

    Only work that is missing from the storage runs. The same command therefore resumes an interrupted run, and new
    metrics are computed from stored predictions without loading a model.
    """
    from raybench.commands.run import event_stream, run_experiment
    from raybench.progress import Reporter

    verbosity = -1 if quiet else verbose
    try:
        run_experiment(
            file,
            set_ or (),
            storage,
            event_stream(verbosity) if json_ else Reporter(_console(), verbosity=verbosity),
            address=address,
            until=until,
            retry_failed=retry_failed,
            dashboard=dashboard,
        )
    except KeyboardInterrupt:  # typer would exit without a message
        sys.stderr.write("\nraybench: interrupted. Finished work is saved; run the same command again to resume.\n")
        raise typer.Exit(130) from None


@app.command()
def check(
    file: File,
    set_: Set = None,
    storage: Storage = RUNS,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Also search for near-duplicate images across splits.")
    ] = False,
) -> None:
    """Validate an experiment file and print its plan: what is cached and what would run. Runs nothing."""
    from raybench.commands.check import plan_lines
    from raybench.config.reading import load_experiment
    from raybench.progress import Reporter
    from raybench.storage.store import Store

    experiment, _ = load_experiment(file, set_ or ())
    console = _console()
    for line in plan_lines(experiment, Store(storage), Reporter(console), duplicates=duplicates):
        console.print(printable(line), soft_wrap=True)


@app.command("list")
def list_(
    what: Annotated[
        Literal["methods", "metrics", "datasets", "models", "rules", "experiments", "tables"],
        typer.Argument(help="What to list.", show_default=False),
    ],
) -> None:
    """List the names an experiment file can use, with hyperparameters, defaults and references."""
    from raybench.commands.listing import print_list

    print_list(what, _console())


@app.command()
def report(run: RunName, storage: Storage = RUNS, json_: Json = False) -> None:
    """Print the leaderboard of a finished run from its tables, and rewrite its report."""
    from raybench.commands.report import rewrite_report

    rewrite_report(storage, _run_name(run), _console(), as_events=json_)


@app.command()
def export(
    run: RunName,
    method: Annotated[str, typer.Option(help="Unlearning method of the run.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File to write the state dict to.", show_default=False)],
    storage: Storage = RUNS,
) -> None:
    """Write the checkpoint of an unlearned model of a finished run to a file."""
    from raybench.commands.export import export as export_model
    from raybench.storage.store import Store

    print(export_model(Store(storage), _run_name(run), method, out))


@app.command()
def pack(
    dataset: Annotated[
        str,
        typer.Argument(help="Data set: a name of `raybench list datasets`, or your own function.", show_default=False),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write to: new or empty.", show_default=False)],
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data set.", show_default=False)] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Option of the data set format, e.g. domain=Art. Repeatable."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of decoding threads. Default: one per core.", show_default=False)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Pack a data set into Parquet shards. Every image is decoded once to verify it.

    An interrupted pack resumes with the same command.
    """
    from raybench.commands.pack import pack_dataset
    from raybench.progress import Reporter

    reporter = Reporter(_console(), verbosity=-1 if quiet else 0)
    try:
        pack_dataset(dataset, out, root=root, options=option or (), workers=workers, reporter=reporter)
    except KeyboardInterrupt:
        sys.stderr.write("\nraybench: interrupted. Finished shards are saved; run the same command again to resume.\n")
        raise typer.Exit(130) from None


@app.command()
def smoke(
    paths: Annotated[
        list[Path], typer.Argument(help="Experiment files, or folders to search for them.", show_default=False)
    ],
    storage: Annotated[Path, typer.Option(help="Local folder for the generated data and the runs.")] = Path(
        "runs/smoke"
    ),
    address: Address = None,
    verbose: Verbose = 0,
    quiet: Quiet = False,
) -> None:
    """Run the `smoke:` variant of experiments on generated data in the real file format: about a minute each."""
    from raybench.commands.smoke import smoke as run_smoke
    from raybench.progress import Reporter

    reporter = Reporter(_console(), verbosity=-1 if quiet else verbose)
    results = list(run_smoke(paths, storage, reporter, address=address))
    failed = [result for result in results if result.error is not None]
    reporter.print(f"\n{len(results) - len(failed)} of {len(results)} experiments passed")
    for result in failed:
        sys.stderr.write(printable(f"raybench: {result.file}: {result.error}\n"))
    raise typer.Exit(1 if failed else 0)


@app.command()
def submit(
    file: File,
    address: Annotated[
        str, typer.Option(help="Ray dashboard of the cluster, e.g. http://head:8265.", show_default=False)
    ],
    set_: Set = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where the cluster stores results: a URI, or an absolute path that all nodes share. Required.",
            show_default=False,
        ),
    ] = None,
    working_dir: Annotated[
        Path, typer.Option(help="Project folder to upload, minus the files that .gitignore and .rayignore exclude.")
    ] = Path(),
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return when the cluster has accepted the job; do not follow its log.")
    ] = False,
    verbose: Verbose = 0,
) -> None:
    """Run an experiment as a Ray job on a cluster. Streams the job's log and returns its exit code."""
    from raybench.config.reading import load_experiment
    from raybench.distributed.submit import submit as submit_job
    from raybench.pipeline.manifest import commit

    load_experiment(file, set_ or ())  # reject an invalid file before anything is uploaded
    raise typer.Exit(
        submit_job(
            file,
            address,
            overrides=set_ or [],
            storage=storage,
            folder=working_dir,
            wait=not no_wait,
            verbosity=verbose,
            commit=commit(working_dir),
        )
    )


def _run_name(run: str) -> str:
    """Return the run's name; `run` is the name itself or an experiment file."""
    if not run.endswith((".yaml", ".yml")):
        from raybench.config.names import check_run_name

        return check_run_name(run)
    from raybench.config.reading import load_experiment

    return load_experiment(run)[0].name


def _console() -> Console:
    """Return the console; outside a terminal it is 150 columns wide, so that the leaderboard fits.

    Nothing in brackets or between colons is markup: names and paths are printed as they are.
    """
    width = None if sys.stdout.isatty() else 150
    return Console(width=width, markup=False, emoji=False, highlight=False)


def main() -> None:
    """Run the command line. Exit code 2: invalid input or a full disk. Exit code 130: Ctrl-C."""
    os.environ[MODULES] = os.getcwd()  # where user-defined functions are imported from, after all else
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"raybench: {printable(str(error))}\n")
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
            raise
        sys.stderr.write(f"raybench: {error}. Finished work is saved; free some space and rerun the same command.\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
