"""docs/methods.md: every method with its facts, hyperparameters and presets."""

import pytest

from raybench import methods
from raybench.docgen import method_page
from raybench.docgen.docstrings import COMMON, method_docstring
from raybench.docgen.plugin_schemas import properties
from raybench.methods.framework.spec import Settings, hyperparameters


@pytest.mark.parametrize("name", methods.names())
def test_every_hyperparameter_of_a_method_has_a_meaning(name):
    function = methods.get(name)
    paragraphs, meanings = method_docstring(function)
    assert paragraphs[0].endswith(".")
    fields = hyperparameters(function).model_fields
    described = {name for name, field in fields.items() if field.description}
    assert set(fields) - set(COMMON) - described <= set(meanings)
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

    paragraphs, meanings = method_docstring(example)
    assert paragraphs == ["Do it.", "More of it, over two lines."]
    assert meanings == {"a": "the first and the second.", "b": "the first and the second.", "c": "the third: last."}


def test_every_method_has_a_section_with_its_facts_settings_and_presets():
    page = method_page.methods_page()
    for name in methods.names():
        assert f"\n## {name}\n" in page
        assert f"[{name}](#{name})" in page
    section = method_page.method_section("jit")
    assert "\n- passes: forget: 1 + `draws` forwards and backwards\n" in section
    assert section.endswith("- own defaults of shared settings: bn_mode frozen")
    assert "\n- preset `mufac`: lr 0.001, epochs 2" in method_page.method_section("scrub")


def test_a_preset_that_sets_numbers_only_is_marked():
    assert "\n- preset `uuef` (`reproduces: numbers`): lr 0.01" in method_page.method_section("duck")
    section = method_page.method_section("selective_pruning_complex")
    assert "\n- preset `eth` (`reproduces: numbers`): lr 0.001" in section
    assert "\n- preset `eth_code`: lr 0.001" in section
    assert "reproduces numbers" not in method_page.methods_page()


def test_every_shared_setting_has_a_meaning():
    assert all(fragment["description"] for fragment in properties(Settings).values())


def test_ranges_and_choices_are_shown_as_they_are_checked():
    page = method_page.methods_page()
    assert "| `clip_norm` | null | number > 0 or null |" in page
    assert "| `momentum` | 0.9 | number >= 0 and < 1 |" in page
    assert "| `density` | 0.5 | number from 0 to 1 |" in page
    assert "| `order` | max_then_min | `max_then_min`, `min_then_max` |" in page
    assert "| `max_steps` | null | integer >= 1 or null |" in page
