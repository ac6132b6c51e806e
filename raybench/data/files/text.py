"""Read the text files of data sets: lists, CSV, JSON."""

import json
from pathlib import Path
from typing import Any

from raybench import limits
from raybench.data.reading.encoded import open_regular
from raybench.errors import UserError


def read_text(path: Path, what: str) -> str:
    """Return a UTF-8 text; raise UserError that it cannot be read as `what`: missing, no regular file, too large."""
    try:
        with open_regular(str(path)) as file:
            content = file.read(limits.TEXT_BYTES + 1)
        if len(content) > limits.TEXT_BYTES:
            raise UserError(f"{path}: has more than {limits.TEXT_BYTES:,} bytes, too many for {what}")
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as {what}: {error}") from error


def read_json(path: Path, what: str) -> Any:
    """Return the content of a JSON file; raise UserError that it cannot be read as `what`."""
    text = read_text(path, what)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as {what}: {error}") from error
