"""docs/experiment.md: every key of the experiment file, and examples that are valid."""

import re
from pathlib import Path

import pytest
import yaml

from raybench.config.reading import load_experiment
from raybench.config.schema import Experiment
from raybench.docgen import experiment_content, experiment_page
from raybench.docgen.markdown import allowed_values, default_value


@pytest.fixture(scope="module")
def page():
    return experiment_page.experiment_page()


def models(model):
    yield model
    for field in model.model_fields.values():
        for inner in experiment_page.models_in(field.annotation):
            yield from models(inner)


def test_every_key_of_every_section_is_on_the_page_with_its_description(page):
    for model in models(Experiment):
        for name, field in model.model_fields.items():
            row = rf"^\| `{name}` \|.*\| {re.escape(field.description or '')} \|$"
            assert re.search(row, page, re.MULTILINE), name


def test_every_section_has_an_example_and_extends_and_smoke_are_explained(page):
    assert list(experiment_content.EXAMPLES) == [name for name in Experiment.model_fields if name != "name"]
    for name in (*experiment_content.EXAMPLES, "extends", "smoke", "--set", "Search spaces"):
        assert f"\n## {name}\n" in page


def test_the_examples_make_one_valid_experiment(write_file):
    text = "name: example\n" + "".join(experiment_content.EXAMPLES.values())
    assert load_experiment(write_file(text))[0].name == "example"
    assert load_experiment(write_file(experiment_content.MINIMAL))[0].methods


def test_the_example_of_extends_is_valid_on_the_quickstart(write_file):
    quickstart = Path(__file__).parents[2] / "experiments" / "quickstart.yaml"
    example = re.search(r"```yaml\n(.*?)```", experiment_content.EXTENDS, re.DOTALL).group(1)
    experiment, _ = load_experiment(write_file(example.replace("quickstart.yaml", str(quickstart))))
    assert experiment.forget.rule == "class"
    assert yaml.safe_load(example)["methods"] == {"gradient_ascent": None}
    assert "gradient_ascent" not in experiment.methods


@pytest.mark.parametrize(
    ("fragment", "text"),
    [
        ({"type": "integer", "minimum": 1}, "integer >= 1"),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "number >= 0 and < 1"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "number from 0 to 1"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text or null"),
        ({"anyOf": [{"const": "auto"}, {"type": "boolean"}]}, "`auto` or true or false"),
        ({"type": "array", "items": {"type": "integer"}}, "list of integers"),
        ({"enum": ["a", 1]}, "`a`, 1"),
        ({"$ref": "#/$defs/View"}, "mapping"),
        ({}, "any"),
    ],
)
def test_allowed_values_are_written_in_words(fragment, text):
    assert allowed_values(fragment) == text


@pytest.mark.parametrize(
    ("fragment", "text"),
    [({}, "required"), ({"default": None}, "null"), ({"default": True}, "true"), ({"default": 1 / 3}, "0.333333")],
)
def test_a_default_is_written_as_in_yaml(fragment, text):
    assert default_value(fragment) == text
