"""`report.html` in a headless browser: every kind of run, three widths, sorting, filtering, the keyboard."""

import json
import re
import shutil
import subprocess
from html import escape, unescape

import pytest
from html_runs import BAD, GOOD, plain

from raybench.report.html import as_html

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def pages(make_run, without, page, sixty_page):
    """Return pages of runs of every kind, by name."""
    good = {"good": [GOOD] * 2, "bad": [BAD] * 2}
    return {
        "full": page,
        "sixty": sixty_page,
        "one seed": as_html(plain(make_run({"good": [GOOD]}))),
        "no references": as_html(plain(without(good))),
        "one reference": as_html(plain(make_run(good, retrained=[GOOD]))),
        "all failed": as_html(plain(make_run({"broken": "it diverged", "worse": "out of memory"}))),
        "no memory": as_html(plain(make_run(good)._replace(memory=None))),
    }


def browse(path, *flags):
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    profile = f"--user-data-dir={path.parent / 'profile'}"
    return subprocess.run([*command, profile, *flags, path.as_uri()], capture_output=True, text=True, timeout=120)


INSPECT = """
<script>
const inspect = (frame) => {
  const page = frame.contentDocument;
  const names = () => [...page.querySelectorAll("#leaderboard tbody tr:not([hidden]) th")]
    .map((head) => head.dataset.value);
  const heads = [...page.querySelectorAll("#leaderboard thead button")];
  const button = heads.find((head) => head.textContent === "TA, %");
  const orders = [];
  for (let click = 0; click < 3; click += 1) { button.click(); orders.push(names()); }
  const filter = page.getElementById("filter-name");
  const type = (text) => { filter.value = text; filter.dispatchEvent(new Event("input", { bubbles: true })); };
  type("GOO");
  const filtered = names();
  type("");
  const missed = [...page.querySelectorAll("a, button, input, select, summary, .scroll")].filter((item) => {
    item.focus();
    return item.checkVisibility() && page.activeElement !== item;
  });
  return {
    orders, filtered, heads: heads.length, sections: page.querySelectorAll("main section").length,
    missed: missed.map((item) => item.outerHTML.slice(0, 80)),
    overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth,
  };
};
window.addEventListener("load", () => {
  const pages = [...document.querySelectorAll("iframe")].map((frame) => [frame.name, inspect(frame)]);
  document.title = JSON.stringify(Object.fromEntries(pages));
});
</script>
"""
WIDTHS = (400, 900, 1400)


def widths(name):
    """Return the widths at which a page is tried: parsing it takes about a second."""
    return WIDTHS if name in ("full", "sixty") else WIDTHS[:1]


@pytest.fixture(scope="module")
def inspected(pages, tmp_path_factory):
    """Return what one start of a browser finds in each page at each width, and its messages."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: the pages are not tried in a browser")
    frames = "".join(
        f'<iframe name="{name} {width}" width="{width}" height="900" srcdoc="{escape(text)}"></iframe>'
        for name, text in pages.items()
        for width in widths(name)
    )
    path = tmp_path_factory.mktemp("pages") / "all.html"
    path.write_text(f"<!DOCTYPE html><html><head><title></title>{INSPECT}</head><body>{frames}</body></html>", "utf-8")
    done = browse(path, "--dump-dom")
    return json.loads(unescape(re.search("<title>(.+?)</title>", done.stdout)[1])), done.stderr


@pytest.mark.slow
def test_a_browser_shows_every_page_without_errors_at_every_width(inspected, pages):
    results, messages = inspected
    assert "CONSOLE" not in messages
    assert set(results) == {f"{name} {width}" for name in pages for width in widths(name)}
    for name, page in results.items():
        assert page["sections"] >= 2, name
        assert page["heads"] >= 6, name
        assert page["overflow"] <= 0, f"{name}: the page scrolls sideways by {page['overflow']} pixels"
        assert page["missed"] == [], f"{name}: the keyboard does not reach these"


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_sorts_and_filters(inspected, full, width):
    page = inspected[0][f"full {width}"]
    ascending, descending, initial = page["orders"]
    accuracy = {row.name: row.cells["TA"].value for row in full.board.rows}
    values = [accuracy[name] for name in ascending[:-1]]
    assert values == sorted(values)
    assert ascending[-1] == descending[-1] == "broken"  # no value: last in both directions
    assert [accuracy[name] for name in descending[:-1]] == pytest.approx(values[::-1])
    assert initial == [row.name for row in full.board.rows]
    assert page["filtered"] == ["good"]
    assert len(inspected[0][f"sixty {width}"]["orders"][0]) == 62
