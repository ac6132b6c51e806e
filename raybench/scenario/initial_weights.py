"""The weights that every training starts from (`model.init`), copied to the store for all workers."""

import hashlib
from pathlib import Path

from torch import nn

from raybench import models
from raybench.errors import UserError
from raybench.models.checkpoints import require_regular
from raybench.storage.store import Store


def publish(path: str, store: Store) -> str:
    """Write the state dict of a file to the store; return its key, a hash of the content."""
    try:
        file = Path(path).expanduser()
        require_regular(file)
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"model.init = {path!r} cannot be read: {error.strerror}") from error
    except RuntimeError as error:  # ~user without such a user
        raise UserError(f"model.init = {path!r} cannot be read: {error}") from error
    models.read_weights(content, name=path)
    key = f"artifacts/inits/{_hash(content)}.pt"
    if not store.exists(key):
        store.write_bytes(key, content)
    return key


def load(model: nn.Module, store: Store, key: str, *, name: str) -> list[str]:
    """Load the weights into the model; return the head tensors of another size, which keep their random values."""
    content = store.read_bytes(key)
    if _hash(content) not in key:
        raise store.set_aside(key, "its content differs from the hash in its name")
    weights = models.read_weights(content, name=name)
    resized = models.start_from(model, weights, name=name)
    models.require_finite(weights, name=name)
    return resized


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
