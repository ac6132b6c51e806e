"""The weights that every training starts from (`model.init`), kept in the store, where every worker finds them."""

import hashlib
from pathlib import Path

from torch import nn

from raybench import models
from raybench.errors import UserError
from raybench.storage.store import Store


def publish(path: str, store: Store) -> str:
    """Put the state dict of a file into the store, and return the key: a hash of its content."""
    file = Path(path).expanduser()
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"model.init = {path!r} cannot be read: {error.strerror}") from error
    models.read_weights(content, name=path)
    key = f"artifacts/inits/{hashlib.blake2b(content, digest_size=8).hexdigest()}.pt"
    if not store.exists(key):
        store.write_bytes(key, content)
    return key


def load(model: nn.Module, store: Store, key: str, *, name: str) -> list[str]:
    """Load them into the model; return the tensors of its head that they have in another size, which stay new."""
    return models.start_from(model, models.read_weights(store.read_bytes(key), name=name), name=name)
