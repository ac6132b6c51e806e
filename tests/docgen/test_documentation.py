from dataclasses import replace
from pathlib import Path

import pytest

from raybench import methods, metrics, registry
from raybench.docgen import content, pages
from raybench.methods.framework.spec import hyperparameters
from raybench.metrics.framework.spec import Estimate, MetricSpec, metric
from raybench.metrics.functions import population

FOLDER = Path(__file__).parents[2] / "docs"
PAGES = {"methods.md": pages.methods_page, "metrics.md": pages.metrics_page}
SHIPPED = {name: function.raybench_spec for name, function in registry.discover(metrics.__name__, MetricSpec).items()}


@metric(
    source="a test | with a bar",
    direction="lower",
    low=0,
    ideal=0,
    splits=("forget",),
    cost="samples",
    caution="Of three samples.",
    released="Counts from 1: 4 instead of 3.",
    on_request=True,
)
def invented(logits, labels, *, k: int = 3, side: str | None = None) -> Estimate:
    """Count what is invented.

    A second paragraph.
    """
    return Estimate(k, 0, 0, len(labels) + len(logits), str(side))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_the_code_says(page):
    assert (FOLDER / page).read_text(encoding="utf-8") == PAGES[page](), (
        f"docs/{page} is out of date: python -m raybench.docgen.pages"
    )


def test_every_metric_and_every_population_statistic_is_on_the_page():
    page = pages.metrics_page()
    for name in registry.discover(metrics.__name__, MetricSpec):
        assert f"\n## {name}\n" in page
        assert f"| `{name}` |" in page
    for name in population.specs():
        assert f"| `{name}` |" in page


@pytest.mark.parametrize("name", SHIPPED)
def test_every_metric_says_what_it_costs_and_when_not_to_trust_it(name):
    spec = SHIPPED[name]
    assert spec.cost
    assert spec.caution.endswith(".")
    assert spec.released.endswith(".") if spec.released else spec.protocol == "corrected"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_the_same_on_every_machine_and_every_run(page):
    written = PAGES[page]()
    assert written == PAGES[page]()
    assert " at 0x" not in written
    assert written.isascii()


def test_a_section_holds_the_definition_what_is_read_and_the_settings():
    spec = invented.raybench_spec
    section = pages.entry("invented", invented, pages.metric_facts(invented, spec))
    assert section.startswith("## invented\n\nCount what is invented.\n\nA second paragraph.")
    assert "- Reads: `logits`, `labels`" in section
    assert "- Direction: lower is better; range 0 and above, ideal 0" in section
    assert "| `k` | `int` | `3` |" in section
    assert "| `side` | `str or None` | `None` |" in section
    assert (
        "\n- Asked for: by name only; `metrics: all` leaves it out\n- Cost: samples\n"
        "- When not to trust it: Of three samples.\n- Released code: Counts from 1: 4 instead of 3.\n"
    ) in section


def test_a_metric_with_nothing_to_say_of_released_code_has_no_line_of_it():
    facts = pages.metric_facts(invented, replace(invented.raybench_spec, released="", on_request=False))
    assert list(facts) == ["Source", "Reads", "Splits", "Direction", "Protocol", "Cost", "When not to trust it"]


def test_functions_that_are_no_rows_are_on_the_page_with_what_they_take_and_return():
    page = pages.metrics_page()
    for module, names in content.FUNCTIONS:
        assert f"\n## {module.__name__.rsplit('.', 1)[-1]}\n" in page
        for name in content.functions(module, names):
            assert f"\n### {module.__name__.rsplit('.', 1)[-1]}.{name}\n" in page
    assert "- Takes: `scores`, `alpha`\n- Returns: `float`\n" in page
    assert "- Returns: `list[RankInterval]` (rank, low, high)\n" in page
    assert "- Returns: `dict[str, WeightDistance]` (l2, relative_l2, cosine, size)\n" in page


@pytest.mark.parametrize("argument", [["docs"], []])
def test_the_pages_are_written_into_a_folder_that_need_not_exist(tmp_path, monkeypatch, argument):
    monkeypatch.chdir(tmp_path)
    pages.main(*argument)
    for page, text in PAGES.items():
        assert (tmp_path / "docs" / page).read_text(encoding="utf-8") == text()


@pytest.mark.parametrize("page", PAGES)
def test_every_table_on_a_page_has_as_many_cells_in_each_row(page):
    widths: list[int] = []
    for line in PAGES[page]().splitlines():
        if not line.startswith("|"):
            widths = []
            continue
        widths.append(line.count("|"))
        assert len(set(widths)) == 1, line


# -- methods -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", methods.names())
def test_every_hyperparameter_of_a_method_has_a_meaning(name):
    function = methods.get(name)
    paragraphs, meanings = pages.read_docstring(function)
    assert paragraphs[0].endswith(".")
    fields = hyperparameters(function).model_fields
    described = {name for name, field in fields.items() if field.description}
    assert set(fields) - set(pages.COMMON) - described <= set(meanings)
    assert set(meanings) <= set(fields)


def test_a_docstring_is_read_into_its_parts():
    def example():
        """Do it.

        More of it,
        over two lines.

        Args:
            a, b: the first
                and the second.
            c: the third: last.
        """

    paragraphs, meanings = pages.read_docstring(example)
    assert paragraphs == ["Do it.", "More of it, over two lines."]
    assert meanings == {"a": "the first and the second.", "b": "the first and the second.", "c": "the third: last."}


def test_every_method_has_a_section_with_its_facts_settings_and_presets():
    page = pages.methods_page()
    for name in methods.names():
        assert f"\n## {name}\n" in page
        assert f"[{name}](#{name})" in page
    section = pages.method_entry("jit")
    assert "\n- passes: forget: 1 + `draws` forwards and backwards\n" in section
    assert section.endswith("- own defaults of shared settings: bn_mode frozen")
    assert "\n- preset `mufac`: lr 0.001, epochs 2" in pages.method_entry("scrub")


def test_ranges_and_choices_are_shown_as_they_are_checked():
    page = pages.methods_page()
    assert "| `clip_norm` | None | float > 0 or None |" in page
    assert "| `density` | 0.5 | float >= 0 <= 1 |" in page
    assert "| `order` | max_then_min | max_then_min, min_then_max |" in page
    assert "| `max_steps` | None | int >= 1 or None |" in page
