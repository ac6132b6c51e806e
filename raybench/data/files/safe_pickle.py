"""Read pickles of plain containers and numpy arrays only, because unpickling an arbitrary file can run code.

The official CIFAR files are pickles, so they are read with a short list of allowed names.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct, scalar

from raybench.errors import UserError

# The module was renamed in numpy 2; files contain either name.
NUMPY_MODULES = ("numpy.core", "numpy._core")


def load(path: Path) -> Any:
    """Read the pickle at `path`, Python 2 strings as latin1; raise UserError with the file name for anything unsafe."""
    try:
        with path.open("rb") as file:
            return PlainUnpickler(file, encoding="latin1").load()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Refused as error:
        raise UserError(
            f"{path}: refused because the pickle contains {error}, which could run code; only arrays are read"
        ) from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"{path}: not a complete pickle ({error}); is the file truncated?") from error
    except (MemoryError, OverflowError) as error:
        raise UserError(f"{path}: a size in the pickle is out of range; is the file corrupt?") from error


def save(content: Any, path: Path) -> None:
    """Write plain containers and arrays in the protocol of the official CIFAR files, 2."""
    path.write_bytes(pickle.dumps(content, protocol=2))


class Refused(Exception):
    """The pickle contains a name that is not allowed; the message is that name."""


class PlainUnpickler(pickle.Unpickler):
    """An unpickler that allows only the functions that rebuild numpy arrays and scalars."""

    def find_class(self, module: str, name: str) -> Any:
        # Functions are created for each file because a pickle may set attributes of what it refers to.
        allowed: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): latin1_encoder(),
            ("__builtin__", "bytes"): bytes,  # empty bytes, as protocol 2 stores them
        }
        for package in NUMPY_MODULES:
            allowed[f"{package}.multiarray", "_reconstruct"] = _reconstruct
            allowed[f"{package}.multiarray", "scalar"] = scalar
            allowed[f"{package}.numeric", "_frombuffer"] = buffer_reader()
        if (module, name) not in allowed:
            raise Refused(f"{module}.{name}")
        return allowed[module, name]


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
