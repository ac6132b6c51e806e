"""What goes wrong with a storage, as errors of one sentence."""

import errno
import os

from raybench.errors import UserError, mask_password

FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


class StorageError(UserError):
    """Raised when the storage cannot be read or written (full, read-only, unreachable)."""


def failed(storage: str, key: str, error: Exception, *, writing: bool) -> StorageError:
    """Return the error for what a filesystem raised; `storage` is the URI without its password."""
    number = getattr(error, "errno", None)
    if writing and number in FORBIDDEN:
        return StorageError(
            f"storage {storage!r} cannot be written ({os.strerror(number)}): get the right to write there, or choose "
            "another --storage. `raybench report`, `leaderboard`, `certify` and `export` read a finished run without it"
        )
    return StorageError(
        f"storage {storage!r} failed at {key}: {mask_password(str(error))}. Finished work is kept; free space, fix "
        "permissions or choose another --storage, and run the same command again"
    )


class DamagedError(StorageError):
    """Raised for an artifact that is damaged, after it was set aside; `artifact` is its key."""

    def __init__(self, message: str, artifact: str) -> None:
        super().__init__(message, artifact)  # both, so that a worker's error can be pickled
        self.artifact = artifact

    def __str__(self) -> str:
        return str(self.args[0])
