"""Fetch an official dataset into `root`: the whole folder appears, verified, or nothing does."""

import os
import tempfile
from pathlib import Path

from raybench.errors import UserError


def download(name: str, folder: str, root: Path) -> None:
    """Let torchvision's dataset `name` fetch and check its files, and move the `folder` it makes into `root`.

    Raises UserError where `root` already has such a folder (it is left untouched), and where the network or disk fails.
    """
    if (root / folder).exists():
        raise UserError(
            f"{str(root / folder)!r} exists, but is not complete: complete it, or remove it to download again"
        )
    from torchvision import datasets  # takes seconds to import, and only downloads need it

    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as temporary:
            getattr(datasets, name)(temporary, download=True)
            os.rename(Path(temporary) / folder, root / folder)
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError for a wrong checksum
        raise UserError(f"cannot download {folder} to {str(root)!r}: {error}") from error
