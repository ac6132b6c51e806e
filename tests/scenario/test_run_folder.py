"""The fingerprint in the folder of a run: what changes it, and what does not."""

import shutil

import pytest
import torch
import yaml

from raybench import models
from raybench.config.reading import load_experiment
from raybench.scenario import run_folder as module
from raybench.scenario.prepare import prepare


@pytest.fixture(scope="module")
def folder(make_scenario):
    return lambda **changes: make_scenario(**changes).folder


def test_it_is_the_name_and_eight_digits_and_the_same_every_time(folder):
    assert folder() == folder()
    name, _, digits = folder().partition("/")
    assert name == "tiny"
    assert len(digits) == 8


def test_neither_the_name_nor_the_hardware_changes_the_fingerprint(folder):
    assert folder(name="other").split("/") == ["other", folder().split("/")[1]]
    hardware = {"device": "cpu", "cpus_per_trial": 2, "gpus_per_trial": 0.5, "retries": 7}
    assert folder(resources=hardware, train__checkpoint_minutes=1) == folder()


@pytest.mark.parametrize(
    "changes",
    [
        {"resources__threads": 2},
        {"resources__precision": "bf16"},
        {"train__epochs": 3},
        {"train__ema": 0.99},
        {"forget__count": 41},
        {"evaluate__metrics": ["accuracy"]},
        {"methods": {"retrain": {}}},
        {"paper": {"table": "mufac_age", "protocol": "released"}},
    ],
)
def test_whatever_decides_results_changes_it(folder, changes):
    assert folder(**changes) != folder()


def test_the_code_of_a_method_changes_it(folder, monkeypatch):
    before = folder()
    real = module.code_fingerprint
    monkeypatch.setattr(module, "code_fingerprint", lambda f: "edited" if f.__name__ == "finetune" else real(f))
    assert folder() != before


def test_a_checkpoint_counts_by_content_wherever_it_lies(trained, tiny, tmp_path):
    def with_checkpoint(path):
        content = tiny(model__checkpoint=path.name, sweep__originals=1)
        (path.parent / "experiment.yaml").write_text(yaml.safe_dump(content))
        return prepare(load_experiment(path.parent / "experiment.yaml")[0], trained.scenario.store).folder

    here, there = tmp_path / "here" / "model.pt", tmp_path / "there" / "model.pt"
    for path in (here, there):
        path.parent.mkdir()
    torch.save(models.small_cnn(10, 1, 4).state_dict(), here)
    shutil.copy(here, there)
    first = with_checkpoint(here)
    assert with_checkpoint(there) == first
    torch.save(models.small_cnn(10, 1, 4).state_dict(), here)
    assert with_checkpoint(here) != first
