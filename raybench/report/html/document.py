"""The HTML document around the sections of a page: style, script, navigation. It loads nothing from a network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from matplotlib.figure import Figure

from raybench.report.html.svg import inline_svg


@dataclass(frozen=True)
class Section:
    """One section of the page; `body` is HTML."""

    key: str
    title: str
    body: str


def document(title: str, subtitle: str, sections: Sequence[Section], footer: str, *, kind: str = "report") -> str:
    """Return the page; `title`, `subtitle` and `footer` are plain text, `kind` completes the title of the window."""
    links = "".join(f'<li><a href="#{section.key}">{escape(section.title)}</a></li>' for section in sections)
    body = "\n".join(
        f'<section id="{section.key}" aria-labelledby="{section.key}-title">\n'
        f'<h2 id="{section.key}-title">{escape(section.title)}</h2>\n{section.body}\n</section>'
        for section in sections
    )
    files = resources.files("raybench.report.html")
    style, script = ((files / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)} - raybench {kind}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#summary">Skip to the summary</a>
<header>
<h1>{escape(title)}</h1>
<p>{escape(subtitle)}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{body}
</main>
<footer><p>{escape(footer)}</p></footer>
<script>
{script}</script>
</body>
</html>
"""


def figure_block(figure: Figure | None, key: str, caption: str) -> str:
    """Return a figure with its caption; empty if there is none."""
    if figure is None:
        return ""
    svg = inline_svg(figure, key, caption)
    return (
        f'<figure><div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">{svg}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def paragraph(text: str) -> str:
    """Return plain text as a paragraph."""
    return f"<p>{escape(text)}</p>\n" if text else ""


def count_of(number: float, noun: str) -> str:
    """Return `1 run`, `2 runs`."""
    number = 0 if math.isnan(number) else int(number)
    return f"{number} {noun}{'' if number == 1 else 's'}"
