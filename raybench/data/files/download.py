"""Download an official dataset to `root`: the whole folder appears, verified, or nothing does."""

import os
import tempfile
from pathlib import Path

from raybench.errors import UserError


def download(name: str, folder: str, root: Path) -> None:
    """Download and verify torchvision's dataset `name`, and move the `folder` it creates into `root`.

    Raises UserError if `root` already contains such a folder (which stays untouched), and if the network or disk fails.
    """
    if (root / folder).exists():
        raise UserError(f"{str(root / folder)!r} exists but is incomplete; complete it, or remove it to download again")
    from torchvision import datasets  # takes seconds to import, and only downloads need it

    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as temporary:
            getattr(datasets, name)(temporary, download=True)
            os.rename(Path(temporary) / folder, root / folder)
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError for a wrong checksum
        raise UserError(f"cannot download {folder} to {str(root)!r}: {error}") from error
