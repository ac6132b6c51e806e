"""MkDocs hooks: pages from files at the root of the repository, pages per module, and a navigation that fits them.

- `getting-started.md`, `contributing.md` and `changelog.md` are README.md, CONTRIBUTING.md and CHANGELOG.md, with their
  links rewritten. GitHub and the site thus show the same text.
- `api/functions/<module>.md` documents one module of `raybench/metrics/functions/`.
- Navigation entries without a file are dropped, and `folder/*` lists the pages of a folder that are not listed
  elsewhere. A page in no entry fails the strict build.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {"README.md": "getting-started.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
TITLES = {"README.md": "# Getting started"}
WIDE = "---\nhide: [navigation]\n---\n\n"  # a page without neighbors in the navigation
FUNCTIONS = ROOT / "raybench" / "metrics" / "functions"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Resolve the navigation against the pages that exist."""
    docs = Path(config.docs_dir)
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")} | set(generated_pages())
    listed = set(_paths(config.nav or []))
    config.nav = _resolved(config.nav or [], pages, listed)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, content in generated_pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Give a page without sections the width of the table of contents, for its tables."""
    if not re.search(r"^(##|:::) ", markdown, re.MULTILINE):
        page.meta.setdefault("hide", []).append("toc")
    return markdown


def generated_pages() -> dict[str, str]:
    """Return {path in the site: Markdown} of all generated pages."""
    pages = {target: _root_page(source) for source, target in ROOT_PAGES.items()}
    for file in sorted(FUNCTIONS.glob("[!_]*.py")):
        module = f"raybench.metrics.functions.{file.stem}"
        options = "    options: {show_root_heading: false, show_root_toc_entry: false, heading_level: 2}\n"
        pages[f"api/functions/{file.stem}.md"] = f"# {file.stem}\n\n`{module}`\n\n::: {module}\n{options}"
    return pages


def _root_page(source: str) -> str:
    text = (ROOT / source).read_text(encoding="utf-8")
    if source in TITLES:
        text = re.sub(r"\A# .*", TITLES[source], text)
    for file, page in ROOT_PAGES.items():
        text = text.replace(f"]({file}", f"]({page}")
    front = "" if source == "CONTRIBUTING.md" else WIDE
    return front + text.replace("](docs/", "](")


def _paths(nav: list[Any]) -> list[str]:
    paths = []
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        paths += _paths(value) if isinstance(value, list) else [value]
    return paths


def _resolved(nav: list[Any], pages: set[str], listed: set[str]) -> list[Any]:
    resolved: list[Any] = []
    for entry in nav:
        title, value = next(iter(entry.items())) if isinstance(entry, dict) else (None, entry)
        if isinstance(value, list):
            if children := _resolved(value, pages, listed):
                resolved.append({title: children})
        elif value.endswith("/*"):
            folder = value.removesuffix("*")
            children = sorted(page for page in pages - listed if page.rpartition("/")[0] == folder.rstrip("/"))
            resolved += [{title: children}] if title and children else children
        elif value in pages:
            resolved.append(entry)
    return resolved
