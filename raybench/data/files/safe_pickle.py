"""Read pickles of plain containers and numpy arrays only, because unpickling an arbitrary file can run code.

The official CIFAR files are pickles, so they are read with a short list of allowed names.
"""

import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy._core.multiarray import scalar

from raybench import limits
from raybench.data.reading.encoded import open_regular
from raybench.errors import UserError

# The module was renamed in numpy 2; files contain either name.
NUMPY_MODULES = ("numpy.core", "numpy._core")


def load(path: Path) -> Any:
    """Read the pickle at `path`, Python 2 strings as latin1; raise UserError with the file name for anything unsafe."""
    try:
        with open_regular(str(path)) as file:
            content = file.read(limits.TEXT_BYTES + 1)
        if len(content) > limits.TEXT_BYTES:
            raise UserError(f"{path}: has more than {limits.TEXT_BYTES:,} bytes")
        return PlainUnpickler(Stream(content), encoding="latin1").load()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except Refused as error:
        raise UserError(
            f"{path}: refused because the pickle contains {error}, which could run code; only arrays are read"
        ) from error
    except (MemoryError, OverflowError) as error:
        raise UserError(f"{path}: a size in the pickle is out of range; is the file corrupt?") from error
    except UserError:
        raise
    except Exception as error:  # of an opcode that does not fit the stack: the bytes are wrong
        raise UserError(f"{path}: not a complete pickle ({error}); is the file truncated?") from error


def save(content: Any, path: Path) -> None:
    """Write plain containers and arrays in the protocol of the official CIFAR files, 2."""
    path.write_bytes(pickle.dumps(content, protocol=2))


class Stream(io.BytesIO):
    """Bytes in which a line ends with a newline; the unpickler would take the start of a cut name for the name."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n"):
            raise EOFError("Ran out of input")
        return line


class Refused(Exception):
    """The pickle contains a name that is not allowed; the message is that name."""


class PlainUnpickler(pickle._Unpickler):
    """An unpickler that allows only the functions that rebuild numpy arrays and scalars.

    It is Python's own written in Python: the one in C allocates what a file of a few bytes asks for (a memo of 2**32
    entries takes 64 GB). Nothing here allocates more than the file holds.
    """

    def find_class(self, module: str, name: str) -> Any:
        # Functions are created for each file because a pickle may set attributes of what it refers to.
        array = ArrayType()
        allowed: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): array,
            ("numpy", "dtype"): plain_dtype(),
            ("_codecs", "encode"): latin1_encoder(),
            ("__builtin__", "bytes"): empty_bytes(),  # empty bytes, as protocol 2 stores them
        }
        for package in NUMPY_MODULES:
            allowed[f"{package}.multiarray", "_reconstruct"] = array_builder()
            allowed[f"{package}.multiarray", "scalar"] = scalar
            allowed[f"{package}.numeric", "_frombuffer"] = buffer_reader()
        if (module, name) not in allowed:
            raise Refused(f"{module}.{name}")
        return allowed[module, name]

    def load_build(self) -> None:
        """Set the state of an array or a dtype, and of nothing else."""
        if not isinstance(self.stack[-2], np.ndarray | np.dtype):  # type: ignore[attr-defined]
            raise pickle.UnpicklingError(f"state of a {type(self.stack[-2]).__name__}")  # type: ignore[attr-defined]
        super().load_build()  # type: ignore[misc]

    # a key may be a tuple that holds a tuple twice, and so on: hashing it never ends
    def load_setitem(self) -> None:
        _require_plain(self.stack[-2:-1])  # type: ignore[attr-defined]
        super().load_setitem()  # type: ignore[misc]

    def load_setitems(self) -> None:
        _require_plain(self.stack[::2])  # type: ignore[attr-defined]
        super().load_setitems()  # type: ignore[misc]

    def load_dict(self) -> None:
        _require_plain(self.stack[::2])  # type: ignore[attr-defined]
        super().load_dict()  # type: ignore[misc]

    def refuse(self) -> None:
        raise pickle.UnpicklingError("sets are not read")

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.FROZENSET[0]: refuse,
        pickle.ADDITEMS[0]: refuse,
    }


def _require_plain(keys: Sequence[Any]) -> None:
    if not all(isinstance(key, str | bytes | int) for key in keys):
        raise pickle.UnpicklingError("a key of a dict is neither a text nor a number")


class ArrayType:
    """What a pickle names as the type to rebuild; it cannot be called, so it cannot allocate an array of any size."""


def array_builder() -> Callable[..., np.ndarray]:
    """Return numpy's `_reconstruct` for the one call that numpy writes: an empty array that gets its state later."""

    def reconstruct(kind: Any, shape: tuple[int, ...], code: Any) -> np.ndarray:
        if not isinstance(kind, ArrayType) or shape != (0,):
            raise ValueError(f"an array of shape {shape!r} before its content")
        return np.ndarray((0,), dtype=np.uint8)

    return reconstruct


def plain_dtype() -> Callable[..., np.dtype[Any]]:
    """Return numpy's `dtype` for numbers, booleans and texts; objects and structures could hold anything."""

    def dtype(code: str, align: bool = False, copy: bool = True) -> np.dtype[Any]:
        result = np.dtype(code, align, copy)
        if result.kind not in "biufSU":
            raise ValueError(f"dtype {code!r}")
        return result

    return dtype


def empty_bytes() -> Callable[[], bytes]:
    """Return the function that protocol 2 stores for b\"\"."""
    return lambda: b""


def latin1_encoder() -> Callable[[str, str], bytes]:
    """Return the function that Python 3 pickles refer to for bytes under protocol 2."""

    def encode(text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise ValueError(f"encoding {encoding!r}")
        return text.encode("latin1")

    return encode


def buffer_reader() -> Callable[..., np.ndarray]:
    """Return the function that numpy pickles refer to for arrays under protocol 5."""

    def frombuffer(buffer: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> np.ndarray:
        return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)

    return frombuffer
