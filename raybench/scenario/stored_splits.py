"""The samples of a deletion request as they are stored; each set is derived and hashed once per process.

Keys of artifacts are made from these hashes: one for each model, trial and piece of predictions.
"""

import functools
import hashlib
from typing import Literal

import numpy as np
import pyarrow as pa

from raybench.data import id_sets
from raybench.data.splits import Splits
from raybench.storage.store import Store

Request = Literal["reported", "tuning"]
"""Which deletion request a job works on: the one of the report, or the one that hyperparameters are tuned on."""


@functools.lru_cache(maxsize=4)
def read_splits(uri: str, key: str) -> Splits:
    """Read splits from the store with that URI; the latest ones are kept in memory."""
    splits = Splits.from_table(Store(uri).read_table(key, columns=["id", "role", "tuning", "mislabeled"]))
    pa.default_memory_pool().release_unused()  # 75 bytes per sample that Arrow would keep for its next table
    return splits


@functools.lru_cache(maxsize=32)
def training_ids(uri: str, key: str, request: Request, role: str) -> np.ndarray:
    """Return the sample ids of a role that models train on and methods unlearn.

    A tuning request forgets its own forget set; everything else that the original was trained on is retained.
    """
    splits = read_splits(uri, key)
    if request == "tuning" and role == "forget":
        return splits.tuning_forget
    if request == "tuning" and role == "retain":
        return id_sets.without(id_sets.union(splits.ids("retain"), splits.ids("forget")), splits.tuning_forget)
    return splits.ids(role)


@functools.lru_cache(maxsize=32)
def measured_ids(uri: str, key: str, request: Request, role: str) -> np.ndarray:
    """Return the sample ids of a role that are measured.

    Where hyperparameters are tuned on another request, the retain samples of a search and of the report differ.
    """
    if role != "retain":
        return training_ids(uri, key, request, role)
    splits = read_splits(uri, key)
    return splits.tuning_retain if request == "tuning" else splits.reported_retain


@functools.lru_cache(maxsize=128)
def hash_training_ids(uri: str, key: str, request: Request, roles: tuple[str, ...]) -> str:
    """Hash the sample ids of the roles that models train on."""
    return hash_ids(np.concatenate([training_ids(uri, key, request, role) for role in roles]))


@functools.lru_cache(maxsize=128)
def hash_measured_ids(uri: str, key: str, request: Request, role: str) -> str:
    """Hash the sample ids of a role that are measured."""
    return hash_ids(measured_ids(uri, key, request, role))


def hash_ids(ids: np.ndarray) -> str:
    """Hash a set of sample ids, in any order, into 16 hex characters."""
    return hashlib.blake2b(np.sort(ids).tobytes(), digest_size=8).hexdigest()
