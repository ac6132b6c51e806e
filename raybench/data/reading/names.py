"""File names in one buffer: a million names of 60 characters take 60 MB, a third of a list of strings."""

import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from raybench.errors import UserError

DECODED_TOGETHER = 65_536  # names
UNKNOWN = -1  # the size of a file that could not be read when its folder was listed


class Names:
    """File names, each followed by a zero byte, and the sizes of the files where the listing has read them."""

    def __init__(self, text: np.ndarray, sizes: np.ndarray | None = None) -> None:
        """Take the buffer, uint8, as `of` builds it, and sizes in bytes, int64 (N,), UNKNOWN where they are not known.

        The buffer may be a memory map.
        """
        if text.dtype != np.uint8 or text.ndim != 1 or (len(text) and text[-1] != 0):
            raise UserError(f"names should be text that ends with a zero byte, found {text.dtype} {text.shape}")
        self.text = text
        self.sizes = sizes

    @classmethod
    def of(cls, names: Iterable[str], sizes: np.ndarray | None = None) -> "Names":
        """Put names into one buffer; raise UserError for a name that no file can have."""
        if isinstance(names, cls):
            return names
        listed = names if isinstance(names, list) else [str(name) for name in names]
        try:
            text = np.frombuffer("".join(f"{name}\0" for name in listed).encode(), dtype=np.uint8)
        except UnicodeEncodeError as error:
            raise UserError(f"the file name {error.object[error.start : error.start + 40]!r} is not UTF-8") from error
        if np.count_nonzero(text == 0) != len(listed):
            name = next(name for name in listed if "\0" in name)
            raise UserError(f"the file name {name!r} contains a zero byte")
        return cls(text, sizes)

    @classmethod
    def joined(cls, parts: Sequence["Names"]) -> "Names":
        """Return the names of several lists as one; sizes are known if each list knows them."""
        sizes = [part.sizes for part in parts if part.sizes is not None]
        known = len(sizes) == len(parts) > 0
        empty = np.empty(0, dtype=np.uint8)
        return cls(np.concatenate([empty, *(part.text for part in parts)]), np.concatenate(sizes) if known else None)

    def below(self, folder: str) -> "Names":
        """Return the names with a folder, which ends with a slash, before each."""
        if not len(self.text):
            return self
        prefix, text = folder.encode(), self.text[:-1].tobytes()
        text = b"".join((prefix, text.replace(b"\0", b"\0" + prefix), b"\0"))
        return Names(np.frombuffer(text, dtype=np.uint8), self.sizes)

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.flatnonzero(self.text == 0)

    @functools.cached_property
    def _number(self) -> int:
        return len(self.sizes) if self.sizes is not None else int(np.count_nonzero(self.text == 0))

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, i: int) -> str:
        i = range(len(self))[i]
        start = self._ends[i - 1] + 1 if i else 0
        return self.text[start : self._ends[i]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        start = 0
        for last in range(DECODED_TOGETHER, len(self) + DECODED_TOGETHER, DECODED_TOGETHER):
            end = int(self._ends[min(last, len(self)) - 1])
            yield from self.text[start:end].tobytes().decode().split("\0")
            start = end + 1

    def tolist(self) -> list[str]:
        """Return the names as a list, which takes several times the memory."""
        return list(self)
