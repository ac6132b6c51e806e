"""The code blocks of README.md and docs/: where each is, and how it is run or checked."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = ("bash", "python", "yaml", "sql")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`(raybench [a-z][^`\n]*)`(?!`)")
NAMED = re.compile(r"# ([\w./-]+\.(?:py|yaml))\n")


@dataclass(frozen=True)
class Block:
    """One code block: `name` is the file that its first line names, if any."""

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str | None:
        match = NAMED.match(self.text)
        return match[1] if match else None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in the languages that can be run."""
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    return [
        Block(name, text.count("\n", 0, match.start()) + 2, match[1], match[2])
        for match in FENCE.finditer(text)
        if match[1] in RUN
    ]


def inline_commands(page: Path) -> list[tuple[str, list[str]]]:
    """Return the `raybench ...` commands in the prose of a page, those with placeholders left out."""
    text = FENCE.sub(lambda match: "\n" * match[0].count("\n"), page.read_text(encoding="utf-8"))
    name = page.relative_to(ROOT).as_posix()
    commands = []
    for match in INLINE.finditer(text):
        if not re.search(r"\.\.\.|<|\{", match[1]):
            commands.append((f"{name}:{text.count(chr(10), 0, match.start()) + 1}", shlex.split(match[1])))
    return commands


def commands(block: Block) -> list[list[str]]:
    """Return the commands of a shell block as lists of words.

    Continued lines are joined, `&&` and pipes split, comments and redirections (`2> FILE`) removed.
    """
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in shlex.split(line, comments=True):
            if word in ("&&", "|"):
                found.append(words)
                words = []
            elif words and words[-1] in (">", "2>"):
                words.pop()
            else:
                words.append(word)
        if words:
            found.append(words)
    return found
