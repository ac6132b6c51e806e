"""What goes wrong with a storage, as errors of one sentence."""

from raybench.errors import UserError


class StorageError(UserError):
    """Raised when the storage cannot be read or written (full, read-only, unreachable)."""


class DamagedError(StorageError):
    """Raised for an artifact that is damaged, after it was set aside; `artifact` is its key."""

    def __init__(self, message: str, artifact: str) -> None:
        super().__init__(message, artifact)  # both, so that a worker's error can be pickled
        self.artifact = artifact

    def __str__(self) -> str:
        return str(self.args[0])
