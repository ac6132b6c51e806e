"""The command line: parse, load the experiment, call the pipeline."""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from raybench import __version__
from raybench.commands.options import RUNS, Address, File, Quiet, Retry, Set, Storage, Verbose
from raybench.errors import UserError

app = typer.Typer(
    name="raybench",
    help="Did the model really forget? Train, unlearn and audit image classifiers, on a laptop or a Ray cluster.\n\n"
    "Start with: raybench run experiments/quickstart.yaml",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"raybench {__version__}")
        raise typer.Exit


def _pipeline(
    until: Literal["train", "sweep", "report"],
    file: Path,
    overrides: list[str] | None,
    storage: str,
    address: str | None,
    verbosity: int,
    retry_failed: bool,
) -> None:
    from raybench.config.reading import load_experiment
    from raybench.pipeline.run import run
    from raybench.progress import Reporter
    from raybench.storage.store import Store

    experiment, text = load_experiment(file, overrides or ())
    reporter = Reporter(_console(), verbosity=verbosity)
    try:
        run(experiment, text, Store(storage), reporter, address=address, until=until, retry_failed=retry_failed)
    except KeyboardInterrupt:  # typer would end without a word
        sys.stderr.write("\nraybench: stopped. Everything finished is kept; run the same command again to go on.\n")
        raise typer.Exit(130) from None


@app.command()
def run(
    file: File,
    set_: Set = None,
    storage: Storage = RUNS,
    address: Address = None,
    verbose: Verbose = 0,
    quiet: Quiet = False,
    retry_failed: Retry = False,
) -> None:
    """Train, sweep, evaluate and report: the whole experiment. Run it again to go on where it stopped."""
    _pipeline("report", file, set_, storage, address, -1 if quiet else verbose, retry_failed)


@app.command()
def train(
    file: File,
    set_: Set = None,
    storage: Storage = RUNS,
    address: Address = None,
    verbose: Verbose = 0,
    quiet: Quiet = False,
) -> None:
    """Train the original and the retrained models only."""
    _pipeline("train", file, set_, storage, address, -1 if quiet else verbose, False)


@app.command()
def sweep(
    file: File,
    set_: Set = None,
    storage: Storage = RUNS,
    address: Address = None,
    verbose: Verbose = 0,
    quiet: Quiet = False,
    retry_failed: Retry = False,
) -> None:
    """Search every method's hyperparameters (training first what is missing)."""
    _pipeline("sweep", file, set_, storage, address, -1 if quiet else verbose, retry_failed)


@app.command()
def evaluate(
    file: File,
    set_: Set = None,
    storage: Storage = RUNS,
    address: Address = None,
    verbose: Verbose = 0,
    quiet: Quiet = False,
) -> None:
    """Compute the experiment's metrics; an old run is scored again from its stored predictions, without its models."""
    _pipeline("report", file, set_, storage, address, -1 if quiet else verbose, False)


@app.command()
def report(
    run: Annotated[
        str, typer.Argument(help="Name of a run on the storage, or its experiment file.", show_default=False)
    ],
    storage: Storage = RUNS,
) -> None:
    """Print the leaderboard of a finished run again, from its tables."""
    from raybench.pipeline.run import require_tables
    from raybench.progress import Reporter
    from raybench.report import write_report
    from raybench.storage.store import Store

    store, name = Store(storage), _run_name(run)
    require_tables(store, name)
    write_report(store, name, Reporter(_console()))


@app.command()
def export(
    run: Annotated[
        str, typer.Argument(help="Name of a run on the storage, or its experiment file.", show_default=False)
    ],
    method: Annotated[str, typer.Option(help="Which of the run's methods.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File to write the state dict to.", show_default=False)],
    storage: Storage = RUNS,
) -> None:
    """Write the unlearned checkpoint of a method of a finished run, to be loaded into the model that it is of."""
    from raybench.commands.export import export as export_model
    from raybench.storage.store import Store

    print(export_model(Store(storage), _run_name(run), method, out))


@app.command()
def check(
    file: File,
    set_: Set = None,
    storage: Storage = RUNS,
    duplicates: Annotated[bool, typer.Option("--duplicates", help="Also look for images in two roles.")] = False,
) -> None:
    """Validate an experiment and print its plan: what would run, what is there already. Nothing is run."""
    from raybench.commands.check import plan_lines
    from raybench.config.reading import load_experiment
    from raybench.progress import Reporter
    from raybench.storage.store import Store

    experiment, _ = load_experiment(file, set_ or ())
    console = _console()
    for line in plan_lines(experiment, Store(storage), Reporter(console), duplicates=duplicates):
        console.print(line, highlight=False, soft_wrap=True)


@app.command()
def smoke(
    paths: Annotated[
        list[Path], typer.Argument(help="Experiment files, or folders to search for them.", show_default=False)
    ],
    storage: Annotated[Path, typer.Option(help="A local folder for the generated data and the runs.")] = Path(
        "runs/smoke"
    ),
    address: Address = None,
    verbose: Verbose = 0,
    quiet: Quiet = False,
) -> None:
    """Really run the small form of experiments on generated data in the true format: about a minute each."""
    from raybench.commands.smoke import smoke as run_smoke
    from raybench.progress import Reporter

    reporter = Reporter(_console(), verbosity=-1 if quiet else verbose)
    tried = list(run_smoke(paths, storage, reporter, address=address))
    failed = [one for one in tried if one.error is not None]
    reporter.say(f"\n{len(tried) - len(failed)} of {len(tried)} experiments ran")
    for one in failed:
        sys.stderr.write(f"raybench: {one.file}: {one.error}\n")
    raise typer.Exit(1 if failed else 0)


@app.command("list")
def list_(
    what: Annotated[
        Literal["methods", "metrics", "datasets", "models", "rules", "experiments", "tables"],
        typer.Argument(help="What to list.", show_default=False),
    ],
) -> None:
    """List what an experiment can name, with hyperparameters and sources."""
    from raybench.commands.listing import print_list

    print_list(what, _console())


@app.command()
def pack(
    dataset: Annotated[
        str, typer.Argument(help="A data set of `raybench list datasets`, or your own.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the pack: an empty or a new one.", show_default=False)],
    root: Annotated[Path | None, typer.Option(help="Folder that holds the data set.", show_default=False)] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Option of the data set, e.g. domain=Art. May be repeated."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that decode. Default: one per core.", show_default=False)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Pack a data set into Parquet shards, every image decoded once and verified. Run it again to go on."""
    from raybench.commands.pack import pack_dataset
    from raybench.progress import Reporter

    reporter = Reporter(_console(), verbosity=-1 if quiet else 0)
    try:
        pack_dataset(dataset, out, root=root, options=option or (), workers=workers, reporter=reporter)
    except KeyboardInterrupt:
        sys.stderr.write("\nraybench: stopped. Finished shards are kept; run the same command again to go on.\n")
        raise typer.Exit(130) from None


@app.command()
def submit(
    file: File,
    address: Annotated[str, typer.Option(help="The cluster's dashboard, e.g. http://head:8265.", show_default=False)],
    set_: Set = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Where results go, as the cluster sees it: an absolute path or a URI shared by all nodes."),
    ] = None,
    working_dir: Annotated[
        Path, typer.Option(help="Folder to pack and send (.rayignore and .gitignore are honored).")
    ] = Path(),
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once the job is accepted.")] = False,
    verbose: Verbose = 0,
) -> None:
    """Run an experiment as a Ray job on a cluster; its log streams here, and its exit code is this command's."""
    from raybench.config.reading import load_experiment
    from raybench.distributed.submit import submit as submit_job

    load_experiment(file, set_ or ())  # refuse a wrong file here, before anything travels
    raise typer.Exit(
        submit_job(
            file,
            address,
            overrides=set_ or [],
            storage=storage,
            folder=working_dir,
            wait=not no_wait,
            verbosity=verbose,
        )
    )


def _run_name(given: str) -> str:
    """Return the name of a run that may be given as its experiment file."""
    if not given.endswith((".yaml", ".yml")):
        return given
    from raybench.config.reading import load_experiment

    return load_experiment(given)[0].name


def _console() -> Console:
    """A file or a job's log has no width of its own: give it one that the leaderboard fits into."""
    return Console() if sys.stdout.isatty() else Console(width=150)


def main() -> None:
    """Run the command line; a person's mistake is a sentence and exit code 2, Ctrl-C is 130."""
    sys.path.insert(0, os.getcwd())  # methods and metrics in the user's own files
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"raybench: {error}\n")
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
            raise
        sys.stderr.write(f"raybench: {error}. Nothing finished is lost; make room and run the same command again.\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
