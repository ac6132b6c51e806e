"""Sections of a page that several benchmarks write: each command replaces its own and leaves the others."""

import re
from pathlib import Path


def sections(path: Path) -> dict[str, str]:
    """Return the text of every second-level section of a page by its heading line; "" is what precedes the first."""
    parts = re.split(r"^(?=## )", path.read_text(encoding="utf-8"), flags=re.MULTILINE) if path.exists() else []
    return {part.partition("\n")[0] if part.startswith("## ") else "": part.strip() for part in parts}


def write_section(path: Path, heading: str, text: str) -> None:
    """Replace the section that begins with this heading line ("": what precedes the first), or append it."""
    content = {**sections(path), heading: text.strip()}
    ordered = [content.pop("", ""), *content.values()]
    path.write_text("\n\n".join(filter(None, ordered)) + "\n", encoding="utf-8")
