from pathlib import Path

import pytest

from raybench import documentation, metrics, registry
from raybench.metrics import population
from raybench.metrics.spec import Estimate, MetricSpec, metric

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"


@metric(source="a test | with a bar", direction="lower", low=0, ideal=0, splits=("forget",))
def invented(logits, labels, *, k: int = 3, side: str | None = None) -> Estimate:
    """Count what is invented.

    A second paragraph.
    """
    return Estimate(k, 0, 0, len(labels) + len(logits), str(side))


def test_the_page_of_metrics_is_what_the_code_says():
    assert PAGE.read_text(encoding="utf-8") == documentation.metrics_page(), (
        "docs/metrics.md is out of date: python -m raybench.documentation"
    )


def test_every_metric_and_every_population_statistic_is_on_the_page():
    page = documentation.metrics_page()
    for name in registry.discover(metrics.__name__, MetricSpec):
        assert f"\n## {name}\n" in page
        assert f"| `{name}` |" in page
    for name in population.specs():
        assert f"| `{name}` |" in page


def test_the_page_is_the_same_on_every_machine_and_every_run():
    page = documentation.metrics_page()
    assert page == documentation.metrics_page()
    assert " at 0x" not in page
    assert page.isascii()


def test_a_section_holds_the_definition_what_is_read_and_the_settings():
    spec = invented.raybench_spec
    section = documentation.entry("invented", invented, documentation.metric_facts(invented, spec))
    assert section.startswith("## invented\n\nCount what is invented.\n\nA second paragraph.")
    assert "- Reads: `logits`, `labels`" in section
    assert "- Direction: lower is better; range 0 and above, ideal 0" in section
    assert "| `k` | `int` | `3` |" in section
    assert "| `side` | `str or None` | `None` |" in section


@pytest.mark.parametrize("argument", [["docs"], []])
def test_the_page_is_written_into_a_folder_that_need_not_exist(tmp_path, monkeypatch, argument):
    monkeypatch.chdir(tmp_path)
    documentation.main(*argument)
    assert (tmp_path / "docs" / "metrics.md").read_text(encoding="utf-8") == documentation.metrics_page()


def test_every_table_on_the_page_has_as_many_cells_in_each_row():
    widths: list[int] = []
    for line in documentation.metrics_page().splitlines():
        if not line.startswith("|"):
            widths = []
            continue
        widths.append(line.count("|"))
        assert len(set(widths)) == 1, line
