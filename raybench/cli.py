"""The command line: parse arguments, load the experiment file, and call the pipeline."""

import errno
import gc
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from raybench import __version__, details
from raybench.commands import several_runs
from raybench.commands.certify import certify, verify
from raybench.commands.options import (
    RUNS,
    Address,
    Dashboard,
    Dataset,
    DatasetOption,
    File,
    Find,
    InitData,
    InitForget,
    InitMethods,
    Json,
    Listed,
    ListedName,
    MethodOfRun,
    Needs,
    NewFile,
    Quiet,
    RetryFailed,
    RunName,
    Set,
    Source,
    Storage,
    Threads,
    Thumbnails,
    Until,
    Verbose,
    run_name,
)
from raybench.console import plain_console
from raybench.errors import CONTINUE, EXIT_UNEXPECTED, EXIT_USER, UserError, printable
from raybench.registry import MODULES

app = typer.Typer(
    name="raybench",
    help="Evaluate machine unlearning of image classifiers, on a laptop or a Ray cluster.\n\n"
    "raybench trains an original model and retrained references, tunes unlearning methods under an equal budget, and "
    "measures what the unlearned models still remember.\n\n"
    "Start with: raybench run experiments/quickstart.yaml",
    no_args_is_help=True,
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
            event_stream(verbosity) if json_ else Reporter(plain_console(), verbosity=verbosity),
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
    console = plain_console()
    for line in plan_lines(experiment, Store(storage), Reporter(console), duplicates=duplicates):
        console.print(printable(line), soft_wrap=True)


@app.command()
def init(
    file: NewFile = Path("experiment.yaml"),
    data: InitData = "digits",
    forget: InitForget = "random",
    methods: InitMethods = None,
) -> None:
    """Write a commented experiment file that runs as it is. An existing file is never overwritten."""
    from raybench.commands.init import write_experiment

    print(write_experiment(file, data, forget, methods))


@app.command("list")
def list_(
    what: Listed,
    name: ListedName = None,
    needs: Needs = None,
    source: Source = None,
    find: Find = None,
) -> None:
    """List the names an experiment file can use, or print one page on a name.

    `raybench list methods` lists the methods, `raybench list methods scrub` explains one: paper, cost, hyperparameters
    with defaults and ranges, defects of released code, and an example for the experiment file.
    """
    from raybench.commands.listing import print_list

    print_list(what, plain_console(), name, needs=needs, source=source, find=find)


@app.command()
def report(run: RunName, storage: Storage = RUNS, thumbnails: Thumbnails = None, json_: Json = False) -> None:
    """Print the leaderboard of a finished run from its tables, and rewrite its report."""
    from raybench.commands.report import rewrite_report

    rewrite_report(storage, run_name(run), plain_console(), thumbnails=thumbnails, as_events=json_)


@app.command()
def export(
    run: RunName,
    method: MethodOfRun,
    out: Annotated[
        Path, typer.Option(help="File to write the state dict to: .safetensors, or torch's format.", show_default=False)
    ],
    seed: Annotated[int | None, typer.Option(help="Seed of the model. Default: the first.", show_default=False)] = None,
    storage: Storage = RUNS,
) -> None:
    """Write the checkpoint of a model of a finished run to a file."""
    from raybench.commands.export import export as export_model
    from raybench.storage.store import Store

    print(export_model(Store(storage), run_name(run), method, out, seed=seed))


for command in (certify, verify, several_runs.compare, several_runs.leaderboard, several_runs.runs):
    app.command()(command)


@app.command()
def pack(
    dataset: Dataset,
    out: Annotated[Path, typer.Argument(help="Folder to write to: new or empty.", show_default=False)],
    root: Annotated[Path | None, typer.Option(help="Folder that contains the data set.", show_default=False)] = None,
    option: DatasetOption = None,
    workers: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Pack a data set into Parquet shards. Every image is decoded once to verify it.

    An interrupted pack resumes with the same command.
    """
    from raybench.commands.pack import pack_dataset
    from raybench.progress import Reporter

    reporter = Reporter(plain_console(), verbosity=-1 if quiet else 0)
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
    from raybench.commands.smoke import run_all as run_smoke
    from raybench.progress import Reporter

    reporter = Reporter(plain_console(), verbosity=-1 if quiet else verbose)
    num_failed = run_smoke(paths, storage, reporter, address=address)
    raise typer.Exit(1 if num_failed else 0)


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


def main() -> None:
    """Run the command line. The exit codes are listed in docs/reliability.md."""
    gc.set_threshold(50_000)  # a quarter of the import of torch is spent on looking for garbage that is not there
    os.environ[MODULES] = os.getcwd()  # where user-defined functions are imported from, after all else
    try:
        app()
    except UserError as error:
        if error.exit_code != EXIT_USER:
            details.record(error)
        _exit(error.exit_code, str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
            _exit(EXIT_USER, f"{error}. Free some space or fix the permissions. {CONTINUE}")
        if not details.record(error):  # nobody keeps a log
            raise
        kind, text = type(error).__name__, str(error).strip().partition("\n")[0]
        _exit(EXIT_UNEXPECTED, f"unexpected error: {kind}: {text}. {CONTINUE}; if it comes back, report it")


def _exit(code: int, sentence: str) -> NoReturn:
    sys.stderr.write(f"raybench: {printable(sentence)}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
