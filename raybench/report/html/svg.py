"""A matplotlib figure as SVG inside an HTML page: text stays text, and colors are variables of the style sheet."""

import io
import re
from html import escape

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from raybench.report.html.figures.style import COLORS, styled


@styled
def inline_svg(figure: Figure, key: str, title: str) -> str:
    """Return the figure as an `<svg>` element; the same figure gives the same text.

    `key`: prefix of the ids, unique on the page. `title`: what a screen reader says.
    """
    matplotlib.rcParams["svg.hashsalt"] = key
    stream = io.StringIO()
    figure.set_canvas(FigureCanvasSVG(figure))
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = _unique_ids(text, key)
    for color, name in COLORS.items():
        text = text.replace(color, f"var(--{name})")
    text = re.sub(r"font: ([0-9. a-z]*?)([0-9.]+px) '[^;\"]*", r"font: \1\2 var(--font)", text)
    text = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d+\.\d\d)\d+", r"\1", tag[0]), text)  # a hundredth of a point
    text = re.sub(r"\n\s*", "\n", text)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert size is not None
    head = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {size[1]} {size[2]}" role="img" '
        f'aria-label="{escape(title)}" style="width:{float(size[1]) * 4 / 3:.0f}px">'
    )
    return head + text[text.index(">") + 1 :].rstrip()


def _unique_ids(text: str, key: str) -> str:
    """Prefix the ids that the figure refers to, and drop the others: ids are shared by all figures of a page."""
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda match: f' id="{key}-{match[1]}"' if match[1] in used else "", text)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{key}-", text)
