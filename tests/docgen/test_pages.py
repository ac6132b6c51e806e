"""The generated files of docs/: up to date, the same on every run, well-formed."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from raybench.docgen import pages
from raybench.docgen.markdown import page, replace_section

FOLDER = Path(__file__).parents[2] / "docs"
PAGES = pages.pages()
MARKDOWN = [path for path in PAGES if path.endswith(".md")]


@pytest.mark.parametrize("path", PAGES)
def test_a_generated_file_is_what_the_code_says(path):
    text = PAGES[path]()
    assert (FOLDER / path).read_text(encoding="utf-8") == text, f"docs/{path} is out of date: python -m raybench.docgen"
    assert text == PAGES[path]()
    assert " at 0x" not in text
    assert text.isascii()


def test_no_page_of_a_family_is_left_over():
    assert {path.relative_to(FOLDER).as_posix() for path in (FOLDER / "metrics").iterdir()} == {
        path for path in PAGES if path.startswith("metrics/")
    }


@pytest.mark.parametrize("argument", [["docs"], []])
def test_the_module_writes_every_file_into_a_folder_that_need_not_exist(tmp_path, monkeypatch, argument):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pages, "pages", lambda: {"metrics/one.md": lambda: "text\n"})
    monkeypatch.setattr(sys, "argv", ["raybench.docgen", *argument])
    runpy.run_module("raybench.docgen", run_name="__main__")
    assert (tmp_path / "docs" / "metrics" / "one.md").read_text(encoding="utf-8") == "text\n"


@pytest.mark.parametrize("path", MARKDOWN)
def test_every_table_on_a_page_has_as_many_cells_in_each_row(path):
    widths: list[int] = []
    for line in PAGES[path]().splitlines():
        if not line.startswith("|"):
            widths = []
            continue
        widths.append(line.replace("\\|", "").count("|"))
        assert len(set(widths)) == 1, line


def anchors(text):
    headings = [line.lstrip("#").strip() for line in text.splitlines() if line.startswith("#")]
    return {heading.lower().replace(" ", "-").replace(".", "").replace(",", "") for heading in headings}


@pytest.mark.parametrize("path", MARKDOWN)
def test_every_link_between_pages_leads_to_a_page_and_a_heading(path):
    text = PAGES[path]()
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = (FOLDER / path).parent / file if file else FOLDER / path
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_abbreviations_are_written_out_at_the_top_of_a_page_that_uses_them():
    text = page("T", "The `h_lr` of a model, its MIA AUC, and UA; RMIAX, a hero and ra are no abbreviations.")
    legend = text.split("\n\n")[2]
    assert [part.split(" = ")[0] for part in legend.removeprefix("Abbreviations: ").split("; ")] == [
        "UA",
        "AUC",
        "MIA",
        "H-LR",
    ]
    assert "Abbreviations" not in page("T", "Nothing short.")


def test_a_section_is_replaced_where_it_is_and_the_others_stay():
    first, second = "## First\n\none", "## Second\n\ntwo"
    text = replace_section(replace_section("# Title\n\ntext\n", first), second)
    assert text == "# Title\n\ntext\n\n## First\n\none\n\n## Second\n\ntwo\n"
    assert replace_section(text, first) == replace_section(text, second) == text
    assert replace_section(text, "## First\n\nnew") == text.replace("one", "new")
