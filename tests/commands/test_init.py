"""`raybench init`: the file is valid, its comments are true, and nothing is overwritten."""

import re

import pytest
import yaml

from raybench import example
from raybench.commands.init import experiment_text, write_experiment
from raybench.config.reading import load_experiment
from raybench.errors import UserError
from raybench.scenario.prepare import prepare
from raybench.storage.store import Store


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return a folder of the example: a manifest with an official split, and the same images in class folders."""
    folder = tmp_path_factory.mktemp("own")
    example.write_example(folder / "manifest", recipe=example.RECIPE.model_copy(update={"epochs": 1}), width=1)
    for i in range(300):
        target = folder / "classes" / "abc"[i % 3]
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{i}.png").hardlink_to(folder / "manifest" / "images" / f"{i:04d}.png")
    return folder


@pytest.mark.parametrize(
    ("source", "forget"),
    [
        ("digits", "random"),
        ("digits", "class"),
        ("manifest:manifest/manifest.csv", "random:50"),
        ("manifest:manifest", "class:3"),
        ("folder:classes", "class:b"),
    ],
)
def test_the_file_is_valid_and_its_roles_can_be_drawn(images, tmp_path, monkeypatch, source, forget):
    monkeypatch.chdir(images)
    file = tmp_path / "mine.yaml"
    assert f"next: raybench check {file}" in write_experiment(file, source, forget, "finetune,retrain")
    experiment, _ = load_experiment(file)
    assert experiment.name == "mine"
    assert [*experiment.methods] == ["finetune", "retrain"]
    assert experiment.spaces("finetune")["lr"].kind == "loguniform"
    sizes = prepare(experiment, Store(str(tmp_path))).splits().sizes()
    assert min(sizes.values()) > 0


def test_a_request_that_leaves_no_room_for_another_is_tuned_on_itself(images, monkeypatch):
    monkeypatch.chdir(images)
    content = yaml.safe_load(experiment_text("mine", "folder:classes", "class:b"))
    assert content["sweep"]["tuning_request"] == "same"  # a third of the samples


def test_every_commented_key_holds_its_default(tmp_path):
    """With every # before a key removed, the file describes the same experiment."""
    text = experiment_text("mine", "digits", "random")
    everything = re.sub(r"^  #(\w+:)", r"  \1", text, flags=re.MULTILINE)
    assert everything.count("\n  ") > text.count("\n  ") - 1
    files = []
    for name, content in (("some.yaml", text), ("all.yaml", everything)):
        files.append(tmp_path / name)
        files[-1].write_text(content)
    assert yaml.safe_load(everything) != yaml.safe_load(text)
    assert load_experiment(files[0])[0] == load_experiment(files[1])[0]


def test_comments_are_the_descriptions_of_the_fields_and_fit_the_terminal():
    text = experiment_text("mine", "digits", "random")
    prose = " ".join(line.strip().removeprefix("# ") for line in text.splitlines() if line.strip().startswith("# "))
    assert "with fewer than 5, verdicts are withheld" in prose
    assert "Maximize the divergence from the original on forget batches" in prose
    assert all(len(line) <= 100 for line in text.splitlines())


def test_an_existing_file_is_left_as_it_is(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: precious\n")
    with pytest.raises(UserError, match=r"exists and is left as it is; name another file: raybench init .*mine_2.yaml"):
        write_experiment(file)
    assert file.read_text() == "name: precious\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "nothere:x"}, r"unknown dataset 'nothere'.*folder:PATH"),
        ({"source": "folder:nowhere"}, "root 'nowhere' is not a folder"),
        ({"forget": "klass"}, "did you mean 'class'"),
        ({"forget": "class:77"}, "unknown class '77'"),
        ({"forget": "random:2.5"}, "must be a whole number of samples"),
        ({"forget": "random:5000"}, "5000"),
        ({"forget": "identity"}, "has no groups"),
        ({"forget": "ids:forget.txt"}, "bring-your-own.md for a list of ids"),
        ({"forget": "hard"}, "raybench list rules hard"),
        ({"names": "skrub"}, "did you mean 'scrub'"),
        ({"names": ","}, "name at least one method"),
    ],
)
def test_a_wrong_option_is_refused_and_no_file_is_written(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        write_experiment(tmp_path / "mine.yaml", **options)
    assert not (tmp_path / "mine.yaml").exists()
    with pytest.raises(UserError, match=r"ends in \.yaml"):
        write_experiment(tmp_path / "mine.txt")
