"""docs/data-sources.md: every format of raybench has a section, and the trees are those that the formats read."""

import re

import pytest
from blocks import ROOT

from raybench import registry
from raybench.data import formats
from raybench.data.images import DatasetSpec

PAGE = (ROOT / "docs" / "data-sources.md").read_text(encoding="utf-8")
FORMATS = registry.discover(formats.__name__, DatasetSpec)
OWN = {"huggingface", "image_folder", "list_file", "manifest", "packed"}  # on another page
FILE = re.compile(r"[\w-]+\.(?:txt|csv)|data_batch_1|test_batch|t10k-\S+-ubyte|train-\S+-ubyte")


@pytest.mark.parametrize("name", sorted(set(FORMATS) - OWN))
def test_every_format_is_on_the_page_with_the_files_that_it_needs(name):
    assert f"dataset: {name}" in PAGE
    needs = registry.spec_of(FORMATS[name], DatasetSpec).needs
    assert [file for file in FILE.findall(needs) if file not in PAGE and "classnames" not in file] == []


def test_formats_for_your_own_images_are_on_their_page():
    page = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    assert [name for name in OWN if name not in page] == []


def test_every_row_of_the_table_links_to_a_section():
    headings = {line.lstrip("#").strip().lower().replace(" ", "-") for line in PAGE.splitlines() if line[:1] == "#"}
    links = re.findall(r"\]\(#([\w-]+)\)", PAGE)
    assert len(links) > 10
    assert set(links) <= headings
