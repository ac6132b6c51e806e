"""`raybench certify` and `raybench verify`: write evidence that can be filed, and check it anywhere."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from raybench.commands.options import (
    RUNS,
    Date,
    Digest,
    HeldImages,
    HeldModel,
    Operator,
    RequestId,
    RunName,
    Storage,
    run_name,
)
from raybench.errors import printable


def certify(
    run: RunName,
    method: Annotated[str, typer.Option(help="Unlearning method of the run.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to write: new or empty.", show_default=False)],
    request_id: RequestId = "",
    operator: Operator = "",
    date: Date = None,
    storage: Storage = RUNS,
) -> None:
    """Write evidence on one method of a run that can be filed: a page with the verdict first, and all it rests on.

    The folder has hashes of the model before and after and of every image to forget, the tables that the verdict is
    computed from, and the experiment with its modules. It has no image, no original model and no path of this machine.
    A method that still remembers is certified as such. Without a verdict there is nothing to certify.

    Example: raybench certify quickstart --method scrub --request-id R-2026-17 --operator "A. Smith" --out R-2026-17
    """
    from raybench import evidence
    from raybench.storage.read_only import ReadOnlyStore

    request = evidence.Request(request_id, operator, *([date] if date else []))
    record = evidence.certify(ReadOnlyStore(storage), run_name(run), method, out, request)
    for line in _certified(record, out):
        print(printable(line))


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder that `raybench certify` wrote.", show_default=False)],
    digest: Digest = None,
    data: HeldImages = None,
    model: HeldModel = None,
) -> None:
    """Check an evidence folder, on any machine and without the storage: one line per check; exit code 1 if one fails.

    Compares every file with its hash, the model and the image hashes with the record, and computes the verdict again
    from the tables. Nothing in the folder is executed.

    Example: raybench verify R-2026-17 --digest 3f0c... --data photos --model deployed.pt
    """
    from raybench import evidence

    failed = []
    for check in evidence.verify(folder, digest=digest, data=data, model=model):
        print(printable(f"{'ok' if check.ok else 'FAILED':<7} {check.name:<8} {check.text}"))
        failed += [] if check.ok else [check.name]
    if failed:
        print(f"\nNOT verified: {', '.join(failed)} failed")
        raise typer.Exit(1)
    unsigned = "; without --digest, a folder that was rewritten as a whole, hashes included, looks the same"
    print(f"\nverified{unsigned if digest is None else ''}")


def _certified(record: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Yield what to print of the evidence, the verdict first."""
    verdict, model, forgotten = record["verdict"], record["models"]["unlearned"], record["forgotten"]
    yield from (*verdict["first"], verdict["sentence"], *verdict["damage"], "")
    yield f"run          {record['run']}, method {record['method']['name']}, seed {model['seed']}"
    yield f"model        {model['weights_sha256']}  (SHA-256 of its weights)"
    yield f"images       {forgotten['count']} forgotten, hashed: {forgotten['hashed']}"
    for item in record["experiment"]["needed"]:
        yield f"left out     {item['file']} ({item['key']}): whoever runs it again must have it"
    yield f"page         {folder.resolve() / 'evidence.html'}"
    yield f"digest       {record['digest']}"
    yield "File or sign the digest elsewhere; check the folder with: raybench verify FOLDER --digest DIGEST"
