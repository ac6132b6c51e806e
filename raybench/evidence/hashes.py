"""SHA-256 of what evidence is about: files, weights apart from their container, and images apart from their order."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def hash_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_weights(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a state dict: names, types, shapes and bytes of its tensors, sorted by name.

    It is the same whichever file format stores them.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()


def hash_pixels(pixels: np.ndarray) -> str:
    """Return the SHA-256 of an image, uint8 (H, W, C): the line "H W C" and then its bytes, row by row."""
    height, width, channels = pixels.shape
    return hash_bytes(f"{height} {width} {channels}\n".encode() + np.ascontiguousarray(pixels).tobytes())


def hash_set(hashes: Iterable[str]) -> str:
    """Return the SHA-256 of a set of hashes, one per line and sorted, so that their order does not matter."""
    return hash_bytes("".join(f"{value}\n" for value in sorted(hashes)).encode())
