"""docs/metrics.md and the pages under docs/metrics/: every metric on one page, with what it costs and when it fails."""

from dataclasses import replace

import pytest

from raybench import metrics, registry
from raybench.docgen import content, metric_pages
from raybench.docgen.docstrings import summary
from raybench.docgen.families import FAMILIES, OTHER, family_of
from raybench.metrics.framework.spec import Estimate, MetricSpec, metric
from raybench.metrics.functions import population

FUNCTIONS = registry.discover(metrics.__name__, MetricSpec)
SHIPPED = {name: registry.spec_of(function, MetricSpec) for name, function in FUNCTIONS.items()}


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
    """Return the invented count,
    over two lines. And more.

    A second paragraph.
    """
    return Estimate(k, 0, 0, len(labels) + len(logits), str(side))


SPEC = registry.spec_of(invented, MetricSpec)


def test_every_metric_is_in_the_overview_and_on_the_page_it_links_to():
    overview = metric_pages.overview_page()
    pages = {name: metric_pages.family_page(name) for name in metric_pages.families()}
    for name, function in FUNCTIONS.items():
        page = family_of(function)
        sentence = summary(function).replace("|", "\\|")
        assert f"| [`{name}`](metrics/{page}.md#{name}) | {sentence} |" in overview
        metric_pages_with = [other for other in set(FAMILIES) | {OTHER} if f"\n## {name}\n" in pages.get(other, "")]
        assert metric_pages_with == [page]
    for name in population.specs():
        assert f"| `{name}` |" in pages["populations"]


def test_every_module_of_metrics_has_a_page_and_every_page_only_modules_that_exist():
    shipped = {function.__module__.rsplit(".", 1)[-1] for function in FUNCTIONS.values()}
    listed = [module for family in FAMILIES.values() for module in family.modules]
    assert sorted(listed) == sorted(shipped)
    assert family_of(invented) == OTHER
    assert OTHER not in metric_pages.families()


@pytest.mark.parametrize("name", SHIPPED)
def test_every_metric_says_what_it_costs_and_when_not_to_trust_it(name):
    spec = SHIPPED[name]
    assert spec.cost
    assert spec.caution.endswith(".")
    assert spec.released.endswith(".") if spec.released else spec.protocol == "corrected"


def test_a_section_opens_with_what_the_metric_tells_then_facts_and_settings():
    section = metric_pages.section("invented", invented, metric_pages.metric_facts(invented, SPEC))
    definition = "Return the invented count,\nover two lines. And more.\n\nA second paragraph."
    assert section.startswith(f"## invented\n\n{definition}\n\n- Reference: a test")
    assert "- Reads: `logits`, `labels`" in section
    assert "- Direction: lower is better; range 0 and above, ideal 0" in section
    assert "| `k` | `int` | `3` |" in section
    assert "| `side` | `str or None` | `None` |" in section
    assert (
        "\n- Computed: only if named; `metrics: all` leaves it out\n- Cost: samples\n"
        "- When not to trust it: Of three samples.\n- Released code: Counts from 1: 4 instead of 3.\n"
    ) in section


def test_the_overview_shows_the_first_sentence():
    assert summary(invented) == "Invented count, over two lines."


def test_a_metric_with_nothing_to_say_of_released_code_has_no_line_of_it():
    facts = metric_pages.metric_facts(invented, replace(SPEC, released="", on_request=False))
    assert list(facts) == ["Reference", "Reads", "Splits", "Direction", "Protocol", "Cost", "When not to trust it"]


def test_functions_that_are_no_rows_are_on_their_page_with_what_they_take_and_return():
    page = metric_pages.family_page("functions")
    for module, names in content.FUNCTIONS:
        assert f"\n## {module.__name__.rsplit('.', 1)[-1]}\n" in page
        for name in content.functions(module, names):
            assert f"\n### {module.__name__.rsplit('.', 1)[-1]}.{name}\n" in page
    assert "- Takes: `scores`, `alpha`\n- Returns: `float`\n" in page
    assert "- Returns: `list[RankInterval]` (rank, low, high)\n" in page
    assert "- Returns: `dict[str, WeightDistance]` (l2, relative_l2, cosine, size)\n" in page
