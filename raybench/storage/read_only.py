"""A store that changes nothing, to print a report from a storage that cannot be written."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from raybench.storage.errors import DamagedError, StorageError
from raybench.storage.store import Store


class ReadOnlyStore(Store):
    """Reads like a Store; what is written to it is discarded."""

    @contextmanager
    def _replacing(self, key: str, *, durable: bool = True) -> Iterator[Any]:
        yield BytesIO()

    def delete(self, key: str) -> None:
        """Do nothing."""

    def share(self, source: str, target: str) -> None:
        """Do nothing."""

    def set_aside(self, key: str, reason: str | None = None) -> DamagedError:
        problem = "is missing" if reason is None else f"is damaged ({reason})"
        return DamagedError(
            f"storage {self.shown!r}: {key} {problem}; the storage cannot be written, so it is not set aside", key
        )


def open_for_report(uri: str) -> Store:
    """Return the store of a URI; a ReadOnlyStore where nothing can be written."""
    store = Store(uri)
    try:
        store.probe()
    except StorageError:
        return ReadOnlyStore(uri)
    return store
