"""A Markdown table."""

from collections.abc import Sequence


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table with the first column aligned left and the others right."""
    cells = [[escape(text) for text in line] for line in (head, *rows)]
    lines = [cells[0], ["---", *["---:"] * (len(head) - 1)], *cells[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def escape(text: str) -> str:
    """Return a name or a message as text of one line: nothing in it ends a cell or begins an HTML tag."""
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").splitlines())
