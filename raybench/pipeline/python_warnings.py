"""Python's warnings during a run: those of data and plug-ins become messages, those of libraries go to a file."""

import site
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import raybench
from raybench.progress import Reporter
from raybench.storage.store import Store

OWN = str(Path(raybench.__file__).parent)
LIBRARIES = (*site.getsitepackages(), sysconfig.get_path("stdlib"))


@contextmanager
def readable_warnings(reporter: Reporter, store: Store, key: str) -> Iterator[None]:
    """Print UserWarnings of raybench and of user code as one sentence; write all others to the file `key`.

    With -v the others are printed too. No file is written without one.
    """
    others: dict[str, None] = {}

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category is UserWarning and _is_for_user(filename):
            reporter.print(f"warning      {message}")
            return
        text = warnings.formatwarning(message, category, filename, lineno, line)
        others[text] = None
        reporter.print(text.rstrip(), least=1)

    try:
        with warnings.catch_warnings():
            set_show: Any = warnings
            set_show.showwarning = show
            yield
    finally:
        if others:
            store.write_bytes(key, "".join(others).encode())


def _is_for_user(filename: str) -> bool:
    return filename.startswith(OWN) or not filename.startswith(LIBRARIES)
