"""The generated files of docs/: which there are, and what writes each.

    python -m raybench.docgen [docs]

They contain what the code says about itself: docstrings, signatures, specs of decorators and descriptions of fields. A
test fails if a file differs from what this writes.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from raybench.docgen import experiment_page, json_schema, method_page, metric_pages, tables_page


def pages() -> Mapping[str, Callable[[], str]]:
    """Return the path of every generated file, relative to docs/, and the function that returns its text."""
    families = {
        f"metrics/{page}.md": functools.partial(metric_pages.family_page, page) for page in metric_pages.families()
    }
    return {
        "experiment.md": experiment_page.experiment_page,
        "experiment.schema.json": json_schema.schema_text,
        "methods.md": method_page.methods_page,
        "metrics.md": metric_pages.overview_page,
        "tables.md": tables_page.tables_page,
        **families,
    }


def main(folder: str = "docs") -> None:
    """Write every generated file into `folder`."""
    for path, text in pages().items():
        target = Path(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text(), encoding="utf-8")
