"""The user's own checkpoint: read without running anything in it, fitted to the model or refused with what to do."""

from pathlib import Path

from torch import Tensor, nn

from raybench import models
from raybench.errors import UserError

SAFETENSORS = ".safetensors"


def read_file(path: str) -> bytes:
    """Return the bytes of the file that model.checkpoint names; raises UserError that says where it was looked for."""
    file = Path(path).expanduser()
    try:
        return file.read_bytes()
    except OSError as error:
        where = f" (looked for beside the experiment file that names it, and in the current folder, {Path.cwd()})"
        tried = "" if file.is_absolute() else where
        raise UserError(f"model.checkpoint = {path!r} cannot be read: {error.strerror}{tried}") from error


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a file that torch.save wrote; raises UserError for anything else, safetensors by name."""
    if path.is_file() and _is_safetensors(path):
        raise UserError(
            f"checkpoint {path} is a safetensors file, which is not read here: write it once as a state dict, "
            f"torch.save(safetensors.torch.load_file({path.name!r}), {path.with_suffix('.pt').name!r}), and give that"
        )
    return models.read_weights(path)


def fit_checkpoint(model: nn.Module, weights: dict[str, Tensor], *, name: str) -> None:
    """Load the weights; a head of another size is told apart from another architecture, with both sizes."""
    head = models.head_name(model)
    own, given = model.state_dict()[f"{head}.weight"], weights.get(f"{head}.weight")
    if given is not None and given.shape[1:] == own.shape[1:] and len(given) != len(own):
        raise UserError(
            f"checkpoint {name} is of another architecture than the model: its head {head!r} has {len(given)} outputs, "
            f"the data set has {len(own)} classes ({head}.weight: file {tuple(given.shape)}, model "
            f"{tuple(own.shape)}). Bring data that names all {len(given)} classes in the model's own order, or a "
            f"checkpoint whose head has {len(own)} outputs"
        )
    models.load_weights(model, weights, name=name)


def _is_safetensors(path: Path) -> bool:
    """Tell by the name, or by how such a file begins: the length of a JSON header, then its brace."""
    if path.suffix == SAFETENSORS:
        return True
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size
