"""User checkpoints: read without executing code, loaded into the model or refused with instructions."""

import stat
from pathlib import Path

from torch import Tensor, nn

from raybench import limits, models
from raybench.errors import UserError

SAFETENSORS = ".safetensors"


def read_file(path: str) -> bytes:
    """Return the bytes of the file of model.checkpoint; raise UserError that says where it was searched."""
    try:
        file = Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"model.checkpoint = {path!r} cannot be read: {error}") from error
    try:
        require_regular(file)
        return file.read_bytes()
    except OSError as error:
        searched = f" (searched next to the experiment file that names it, and in the current folder, {Path.cwd()})"
        where = "" if file.is_absolute() else searched
        raise UserError(f"model.checkpoint = {path!r} cannot be read: {error.strerror}{where}") from error


def require_regular(file: Path) -> None:
    """Raise UserError for a pipe or a device, which could block forever, and for a file that is too large."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"checkpoint {file} is no regular file")
    if status.st_size > limits.CHECKPOINT_BYTES:
        raise UserError(f"checkpoint {file} has {status.st_size:,} bytes (allowed: {limits.CHECKPOINT_BYTES:,})")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a file written by torch.save; raise UserError for anything else."""
    if path.exists():
        require_regular(path)
    if path.is_file() and _is_safetensors(path):
        raise UserError(
            f"checkpoint {path} is a safetensors file, which raybench does not read: convert it to a state dict, "
            f"torch.save(safetensors.torch.load_file({path.name!r}), {path.with_suffix('.pt').name!r}), and use that"
        )
    return models.read_weights(path)


def fit_checkpoint(model: nn.Module, weights: dict[str, Tensor], *, name: str) -> None:
    """Load the weights; the error distinguishes a head of another size from another architecture."""
    head = models.head_name(model)
    expected, actual = model.state_dict()[f"{head}.weight"], weights.get(f"{head}.weight")
    if actual is not None and actual.shape[1:] == expected.shape[1:] and len(actual) != len(expected):
        raise UserError(
            f"checkpoint {name} is of another architecture than the model: its head {head!r} has {len(actual)} "
            f"outputs, the dataset has {len(expected)} classes ({head}.weight: file {tuple(actual.shape)}, model "
            f"{tuple(expected.shape)}). Use data that names all {len(actual)} classes in the order of the model, or a "
            f"checkpoint whose head has {len(expected)} outputs"
        )
    models.load_weights(model, weights, name=name)
    models.require_finite(weights, name=name)


def _is_safetensors(path: Path) -> bool:
    """Detect the format by extension, or by its start: the length of a JSON header, then a brace."""
    if path.suffix == SAFETENSORS:
        return True
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size
