"""`report.html`: well-formed, complete, self-contained, and the same for the same tables."""

import re

import numpy as np
import pytest
from html_runs import BAD, GOOD, plain
from well_formed import Page

from raybench.report.html import as_html


def test_the_page_is_well_formed_and_every_id_is_unique_and_every_reference_resolves(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    local = {reference.removeprefix("#") for reference in parsed.references if reference.startswith("#")}
    assert local <= set(parsed.ids)
    assert [r for r in parsed.references if not r.startswith("#")] == ["data:,"]


def test_every_section_is_there_in_order(page):
    sections = re.findall(r'<section id="([^"]+)"', page)
    assert sections == [
        "summary",
        "gaps",
        "tradeoff",
        "distributions",
        "exposure",
        "coverage",
        "transfer",
        "epsilon",
        "search",
        "training",
        "reported-numbers",
        "settings-section",
        "provenance",
    ]
    assert page.count("<svg") == 14  # two each: gaps, distributions, search; none: settings, provenance


def test_the_page_needs_no_network_and_is_small(page):
    assert set(re.findall(r"https?://[^\s\"'<)]+", page)) <= {
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/2000/svg",
    }
    assert "@import" not in page
    assert len(page.encode()) < 1e6


def test_names_and_messages_are_shown_as_text(page):
    parsed = Page(page)
    assert parsed.tags.count("script") == 1
    assert "b" not in parsed.tags
    assert "i" not in parsed.tags
    assert "RuntimeError: <b>no layer</b>" in parsed.text
    assert "&amp;$b$" in page
    assert not re.search(r"\bnan\b", parsed.text, flags=re.IGNORECASE)


def test_the_same_tables_give_the_same_bytes(full, page):
    assert as_html(full) == page


def test_a_section_without_data_is_left_out(make_run):
    run = make_run({"good": [GOOD] * 2, "bad": [BAD] * 2})
    text = as_html(plain(run._replace(memory=None)))  # an older schema: no residual memory
    assert re.findall(r'<section id="([^"]+)"', text) == ["summary", "gaps", "tradeoff", "provenance"]
    assert "memory left" not in re.findall("<thead>.*?</thead>", text)[0]
    Page(text)


@pytest.mark.parametrize("retrained", [0, 1, 2])
def test_runs_with_few_references_or_one_seed_are_shown(make_run, retrained):
    others = [tuple(np.array(GOOD) + 0.01 * number) for number in range(retrained)]
    run = make_run({"good": [GOOD], "broken": "it diverged"}, retrained=others)
    text = as_html(plain(run))
    Page(text)
    assert "No verdict on forgetting" in text
    assert not re.search(r"\bnan\b", text, flags=re.IGNORECASE)


def test_a_run_in_which_every_method_failed_is_shown(make_run):
    text = as_html(plain(make_run({"broken": "it diverged"})))
    Page(text)
    assert "it diverged" in text


@pytest.mark.slow
def test_sixty_methods_fit(sixty_page):
    text = sixty_page
    assert len(text.encode()) < 5e6
    assert text.count("<tr data-verdict") == 62
    Page(text)
