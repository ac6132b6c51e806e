"""The splits of a scenario as they are stored, and the hash of a set of samples."""

import functools
import hashlib

import numpy as np

from raybench.data.splits import Splits
from raybench.storage.store import Store


@functools.lru_cache(maxsize=4)
def read_splits(uri: str, key: str) -> Splits:
    """Read splits from the store with that URI; the latest ones are kept in memory."""
    return Splits.from_table(Store(uri).read_table(key))


def hash_ids(ids: np.ndarray) -> str:
    """Hash a set of sample ids, in any order, into 16 hex characters."""
    return hashlib.blake2b(np.sort(ids).tobytes(), digest_size=8).hexdigest()
