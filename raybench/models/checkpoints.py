"""Read and write state dicts: files of torch and of safetensors, without executing code in them.

Every file is recognized by its content. Torch's are read with `weights_only=True`.
"""

import functools
import hashlib
import io
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from raybench import limits
from raybench.errors import UserError, nearest
from raybench.models.heads import head_name

SAFETENSORS = ".safetensors"
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")  # keys under which files keep the state dict
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and AveragedModel, and of torch.compile
COUNTERS = ("n_averaged",)  # of AveragedModel, next to the model
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """The state dict of a file, and what was unpacked to get it: "under 'model'", "without the prefix 'module.'"."""

    weights: Weights
    unpacked: tuple[str, ...] = ()


def read_file(path: str, *, key: str = "model.checkpoint") -> bytes:
    """Return the bytes of a file that `key` of an experiment names; raise UserError that says where it was searched."""
    try:
        file = Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{key} = {path!r} cannot be read: {error}") from error
    try:
        require_regular(file)
        return file.read_bytes()
    except OSError as error:
        searched = f" (searched next to the experiment file that names it, and in the current folder, {Path.cwd()})"
        where = "" if file.is_absolute() else searched
        raise UserError(f"{key} = {path!r} cannot be read: {error.strerror}{where}") from error


def file_digest(path: str, *, key: str = "model.checkpoint") -> str:
    """Hash the content of a file that `key` names, so that a renamed file is the same model; unchanged files once."""
    status = None
    with suppress(OSError, RuntimeError):
        status = Path(path).expanduser().stat()
    if status is None:  # raises what is wrong
        return hashlib.blake2b(read_file(path, key=key), digest_size=8).hexdigest()
    return _file_digest(path, key, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1000)
def _file_digest(path: str, key: str, modified: int, size: int) -> str:
    return hashlib.blake2b(read_file(path, key=key), digest_size=8).hexdigest()


def require_regular(file: Path) -> None:
    """Raise UserError for a pipe or a device, which could block forever, and for a file that is too large."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"checkpoint {file} is no regular file")
    if status.st_size > limits.CHECKPOINT_BYTES:
        raise UserError(f"checkpoint {file} has {status.st_size:,} bytes (allowed: {limits.CHECKPOINT_BYTES:,})")


def read_checkpoint(source: bytes | Path, *, name: str = "checkpoint") -> Checkpoint:
    """Read a state dict written by torch.save or safetensors; `name` is that of the file in messages.

    It may be bare or under one of the usual keys ("state_dict", "model", ...), with or without the prefixes of
    DataParallel and torch.compile. Raises UserError for a file that is no checkpoint, is damaged or contains code.
    """
    if isinstance(source, Path):
        name = str(source)
        try:
            require_regular(source)
            source = source.read_bytes()
        except FileNotFoundError as error:
            raise UserError(f"checkpoint {name} does not exist") from error
        except OSError as error:
            raise UserError(f"checkpoint {name} cannot be read: {error.strerror}") from error
    content = _safetensors(source, name) if _is_safetensors(source) else _torch(source, name)
    return _unpack(content, name)


def read_weights(source: bytes | Path, *, name: str = "checkpoint") -> Weights:
    """Return the state dict of a file or its content, as `read_checkpoint` does."""
    return read_checkpoint(source, name=name).weights


def to_bytes(model: nn.Module) -> bytes:
    """Serialize the state dict (CPU tensors, readable with `weights_only=True`)."""
    buffer = io.BytesIO()
    torch.save({name: value.detach().cpu() for name, value in model.state_dict().items()}, buffer)
    return buffer.getvalue()


def to_safetensors(weights: Weights) -> bytes:
    """Serialize a state dict as safetensors; tensors that share memory are written one by one."""
    content = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    return bytes(safetensors.torch.save(content, metadata={"format": "pt"}))


def digest(weights: Weights) -> str:
    """Hash names and values of a state dict, whatever file they were read from."""
    total = hashlib.blake2b(digest_size=8)
    for name, value in sorted(weights.items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}:".encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def fit_checkpoint(model: nn.Module, weights: Weights, *, name: str) -> tuple[str, ...]:
    """Load the weights; the error distinguishes a head of another size from another architecture.

    Return what was removed from all names to fit them, such as the prefix "model." of a Lightning module.
    """
    weights, removed = _without_common_prefix(weights, model.state_dict())
    head = head_name(model)
    expected, actual = model.state_dict()[f"{head}.weight"], weights.get(f"{head}.weight")
    if actual is not None and actual.shape[1:] == expected.shape[1:] and len(actual) != len(expected):
        raise UserError(
            f"checkpoint {name} is of another architecture than the model: its head {head!r} has {len(actual)} "
            f"outputs, the dataset has {len(expected)} classes ({head}.weight: file {tuple(actual.shape)}, model "
            f"{tuple(expected.shape)}). Use data that names all {len(actual)} classes in the order of the model, or a "
            f"checkpoint whose head has {len(expected)} outputs"
        )
    load_weights(model, weights, name=name)  # first: a tensor of another shape may be a view of any size
    require_finite(weights, name=name)
    return (f"without the prefix {removed!r}",) if removed else ()


def load_weights(model: nn.Module, weights: Weights, *, name: str = "checkpoint") -> None:
    """Load a state dict strictly; the error lists the tensors that differ."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in weights]
    extra = [key for key in weights if key not in expected]
    shapes = [
        f"{key}: file {tuple(weights[key].shape)}, model {tuple(value.shape)}"
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    if missing or extra or shapes:
        problems = [
            f"{len(keys)} {problem} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for problem, keys in (
                ("tensors missing", missing),
                ("tensors unknown", extra),
                ("shapes different", shapes),
            )
            if keys
        ]
        raise UserError(
            f"checkpoint {name} is of another architecture than the model: {'; '.join(problems)}"
            f"{_nearest_name(missing, extra)}"
        )
    model.load_state_dict(weights)


def start_from(model: nn.Module, weights: Weights, *, name: str) -> list[str]:
    """Load a state dict to start training from; return the head tensors with another size in it.

    Those keep their random values. Any other difference is an error, as in `load_weights`.
    """
    head, initial = head_name(model), model.state_dict()
    resized = [
        key
        for key in (f"{head}.weight", f"{head}.bias")
        if key in weights and key in initial and weights[key].shape != initial[key].shape
    ]
    load_weights(model, {**weights, **{key: initial[key] for key in resized}}, name=name)
    return resized


def require_finite(weights: Weights, *, name: str) -> None:
    """Raise UserError for weights that hold NaN or infinite numbers: no training and no metric recovers from them."""
    broken = [key for key, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise UserError(
            f"checkpoint {name}: its weights hold NaN or infinite numbers, in {len(broken)} tensors "
            f"({', '.join(broken[:3])}{', ...' if len(broken) > 3 else ''})"
        )


def _is_safetensors(content: bytes) -> bool:
    """Detect the format by its start: the length of a JSON header, then a brace."""
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") < limits.TEXT_BYTES


def _safetensors(content: bytes, name: str) -> Weights:
    try:
        weights: Weights = safetensors.torch.load(content)
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise UserError(
            f"checkpoint {name} is a safetensors file that is damaged or incomplete: {_first_line(error)}"
        ) from error
    return weights


def _torch(content: bytes, name: str) -> Any:
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        _check_storage(loaded, len(content))
    except Exception as error:
        raise UserError(
            f"checkpoint {name} cannot be read safely (weights_only=True): it is damaged or contains pickled code, "
            f"which raybench never runs; save only the state_dict. Error of torch.load: {_first_line(error)}"
        ) from error
    return loaded


def _unpack(content: Any, name: str) -> Checkpoint:
    """Return the state dict in what a file contains; raise UserError if there is none of dense real tensors."""
    unpacked: list[str] = []
    for _ in WRAPPERS:  # bounded: a dictionary may contain itself
        key = next((key for key in WRAPPERS if isinstance(content, dict) and isinstance(content.get(key), dict)), None)
        if key is not None:
            content = content[key]
            unpacked.append(f"under {key!r}")
    tensors = isinstance(content, dict) and content and all(isinstance(v, Tensor) for v in content.values())
    if not tensors or not all(isinstance(key, str) for key in content):
        raise UserError(
            f"checkpoint {name} contains no state dict of tensors by name (allowed: a state dict, or one under "
            f"{', '.join(map(repr, WRAPPERS))})"
        )
    for key, value in content.items():
        if (kind := _not_dense(value)) is not None:
            raise UserError(f"checkpoint {name}: {key} is {kind} (allowed: dense tensors of real numbers)")
    while prefix := next((p for p in PREFIXES if _all_begin(content, p)), None):
        content = {key.removeprefix(prefix): value for key, value in content.items() if key not in COUNTERS}
        unpacked.append(f"without the prefix {prefix!r}")
    return Checkpoint(dict(content), tuple(unpacked))


def _all_begin(names: Iterable[str], prefix: str) -> bool:
    rest = [name for name in names if name not in COUNTERS]
    return bool(rest) and all(name.startswith(prefix) for name in rest)


def _without_common_prefix(weights: Weights, expected: Weights) -> tuple[Weights, str]:
    """Remove a prefix that all names have and the model's names lack; return the weights and the prefix."""
    first = next(iter(expected), "")
    if not weights or first in weights:
        return weights, ""
    for key in weights:
        prefix = key.removesuffix(first)
        if key.endswith(f".{first}") and all(name.startswith(prefix) for name in weights):
            return {name.removeprefix(prefix): value for name, value in weights.items()}, prefix
    return weights, ""


def _nearest_name(missing: list[str], extra: list[str]) -> str:
    """Return what the file calls the first missing tensor that has a similar name there."""
    pairs = ((key, nearest(key, extra)) for key in missing[:3])
    return next((f"; {close!r} of the file is nearest to {key!r} of the model" for key, close in pairs if close), "")


def _not_dense(value: Tensor) -> str | None:
    """Return what a tensor is if it holds no plain array of real numbers."""
    if value.is_nested or value.layout != torch.strided:
        return "a sparse or nested tensor"
    if value.is_meta:
        return "a tensor without values (device meta)"
    if value.is_quantized or value.is_complex():
        return f"a tensor of {value.dtype}"
    return None


def _check_storage(content: object, num_bytes: int) -> None:
    """Raise ValueError if the tensors claim more memory than the file has bytes: torch trusts what its header says."""
    sizes: dict[int, int] = {}
    pending, visited = [content], set()
    while pending:
        value = pending.pop()
        if isinstance(value, dict) and id(value) not in visited:
            visited.add(id(value))
            pending += value.values()
        elif isinstance(value, Tensor) and _not_dense(value) is None:
            storage = value.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
    if sum(sizes.values()) > num_bytes:
        raise ValueError(f"its tensors claim {sum(sizes.values()):,} bytes, the file has {num_bytes:,}")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
