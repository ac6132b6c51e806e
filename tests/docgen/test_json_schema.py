"""The JSON schema of experiment files: shipped files conform to it, wrong ones do not."""

from pathlib import Path

import jsonschema
import pytest

from raybench import methods
from raybench.config.yaml_text import parse
from raybench.docgen import experiment_content
from raybench.docgen.json_schema import experiment_schema

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES = sorted(EXPERIMENTS.rglob("*.yaml"))
COMPLETE = """\
name: a
data: {dataset: digits}
forget: {rule: random, fraction: 0.1}
model: {name: cnn}
"""


@pytest.fixture(scope="module")
def validator():
    schema = experiment_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def test_every_shipped_experiment_conforms(validator):
    assert len(FILES) > 50
    for file in FILES:
        errors = list(validator.iter_errors(parse(file.read_text(encoding="utf-8"))[0]))
        assert not errors, f"{file}: {errors[0].message}"


@pytest.mark.parametrize("name", experiment_content.EXAMPLES)
def test_every_example_on_the_page_conforms(validator, name):
    assert list(validator.iter_errors(parse(experiment_content.EXAMPLES[name])[0])) == []


@pytest.mark.parametrize(
    "text",
    [
        "methods: {finetune: }",
        "methods: {finetune: {lr: {loguniform: [1e-3, 0.1]}, batch_size: {choice: [32, 64]}, bn_mode: frozen}}",
        "methods: {scrub: {preset: mufac, epochs: {randint: [1, 3]}}}",
        "methods: {mine: {method: scrub, lr: 0.1}, scrub: {method: finetune, epochs: 2}, my.own: {anything: 3}}",
        "methods: {}\ndata: {dataset: my.own_set, options: {anything: 3}}\nforget: {rule: my.rule, a: b}",
        "methods: {}\nevaluate: {metrics: [accuracy, my.metric]}",
        "methods: {}\nevaluate: {metrics: {knn: {k: 3}, accuracy: , my.metric: {a: 1}}}",
        "methods: {}\nmodel: {name: my.net}\ntrain: {retrained: {lr: 0.1}, retrained_seeds: [3, 4]}",
        "extends: base.yaml\nforget: {fraction: 0.2}\ndata: {mislabel: null}\nmethods: {tuned: {lr: 1}, scrub: null}",
    ],
)
def test_a_right_file_conforms(validator, text):
    content = parse(text)[0]
    complete = {} if "extends" in content else parse(COMPLETE)[0]
    assert list(validator.iter_errors({**complete, **content})) == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name: a", "'data' is a required property"),
        (f"{COMPLETE}methods: {{}}\ntrian: {{}}", "'trian' was unexpected"),
        (f"{COMPLETE}methods: {{}}\ntrain: {{epoch: 3}}", "'epoch' was unexpected"),
        (f"{COMPLETE}methods: {{}}\ntrain: {{epochs: 0}}", "less than the minimum"),
        (f"{COMPLETE}methods: {{}}\ntrain: {{optimizer: adagrad}}", "is not one of"),
        (f"{COMPLETE}methods: {{}}\ntrain: {{retrained: {{epoch: 3}}}}", "'epoch' was unexpected"),
        (f"{COMPLETE}methods: {{finetun: }}", "is not of type 'object'"),
        (f"{COMPLETE}methods: {{finetun: {{lr: 0.1}}}}", "'method' is a required property"),
        (f"{COMPLETE}methods: {{tuned: {{method: finetun}}}}", "is not valid under any"),
        (f"{COMPLETE}methods: {{tuned: {{method: finetune, rl: 0.1}}}}", "'rl' was unexpected"),
        (f"{COMPLETE}methods: {{finetune: {{rl: 0.1}}}}", "'rl' was unexpected"),
        (f"{COMPLETE}methods: {{finetune: {{lr: fast}}}}", "is not valid under any"),
        (f"{COMPLETE}methods: {{finetune: {{lr: {{logunifrom: [1, 2]}}}}}}", "is not valid under any"),
        (f"{COMPLETE}methods: {{finetune: {{epochs: {{uniform: [1, 2]}}}}}}", "is not valid under any"),
        (f"{COMPLETE}methods: {{finetune: {{preset: no_such}}}}", "is not valid under any"),
        (f"{COMPLETE}methods: {{}}\nsweep: {{objective: accuracy}}", "is not one of"),
        (f"{COMPLETE}methods: {{}}\nevaluate: {{metrics: [acuracy]}}", "is not valid under any"),
        (f"{COMPLETE}methods: {{}}\nevaluate: {{metrics: {{knn: {{kk: 3}}}}}}", "is not valid under any"),
        ("extends: a.yaml\ndata: {dataset: digit}", "is not valid under any"),
        ("extends: a.yaml\ndata: {dataset: mucac, options: {tusk: gender}}", "'tusk' was unexpected"),
        ("extends: a.yaml\ndata: {sizes: {train: 1.5}}", "is not valid under any"),
        ("extends: a.yaml\nforget: {rule: random, cuont: 3}", "'cuont' was unexpected"),
        ("extends: a.yaml\nsmoke: {fixtures: {}}", "'fixtures' was unexpected"),
        ("extends: a.yaml\nsmoke: {train: {epochs: 0}}", "less than the minimum"),
        ("extends: [a.yaml]", "is not of type 'string'"),
    ],
)
def test_a_wrong_file_does_not_conform(validator, text, part):
    messages = [error.message for error in validator.iter_errors(parse(text)[0])]
    assert any(part in message for message in messages), messages


def test_every_key_that_editors_complete_has_a_description_or_a_section():
    schema = experiment_schema()
    for name in methods.names():
        keys = schema["$defs"][f"method.{name}"]["properties"]
        assert all(
            fragment.get("description") or "$ref" in fragment or "const" in fragment for fragment in keys.values()
        )
    assert all(fragment["description"] for fragment in schema["properties"].values())
