"""Models that the user brings: lists of checkpoint files in the experiment file."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from raybench import limits
from raybench.errors import UserError

CHECKPOINTS = "checkpoints"  # key of `methods.<name>` and `train.retrained` that lists finished models


def check_files(files: Any) -> list[str]:
    """Return the list; raise ValueError unless it holds distinct paths, at least one."""
    example = "[seed0.pt, seed1.safetensors]"
    if not isinstance(files, list | tuple) or not files or not all(isinstance(file, str) and file for file in files):
        raise ValueError(f"must be a list of checkpoint files, at least one, such as {example}")
    if len(files) > limits.MODELS:
        raise ValueError(f"must be at most {limits.MODELS} files")
    if twice := [file for n, file in enumerate(files) if file in files[:n]]:
        raise ValueError(f"lists {twice[0]!r} twice; every file is another model")
    return list(files)


Files = Annotated[list[str], Field(max_length=limits.MODELS), AfterValidator(check_files)]


def check_models_of_user(entry: Mapping[str, Any], key: str, *, reserved: Collection[str] = ()) -> None:
    """Check an entry that lists `checkpoints`: nothing else belongs there, since these models are finished."""
    try:
        check_files(entry[CHECKPOINTS])
    except ValueError as error:
        raise UserError(f"{key}.checkpoints: {error}") from error
    if others := [name for name in entry if name != CHECKPOINTS]:
        raise UserError(
            f"{key}: `checkpoints` lists finished models, which take no hyperparameters and no recipe; remove "
            f"{', '.join(others)}"
        )
    if (name := key.rpartition(".")[2]) in reserved:
        raise UserError(f"{key}: {name!r} cannot name a method with checkpoints; choose another name")
