"""The example of docs/bring-your-own.md: its files contain the data its checkpoint was trained on."""

import csv
import subprocess
import sys

import numpy as np
import pytest
import torch

from raybench import data, models
from raybench.config.reading import load_experiment
from raybench.data.images import TEST, TRAIN
from raybench.engine.training import Recipe
from raybench.errors import UserError
from raybench.example import NUM_FORGET, NUM_TRAIN, write_example
from raybench.jobs.imports import import_models
from raybench.jobs.plan import train_jobs
from raybench.jobs.train import train_job
from raybench.pipeline.notices import assumptions, doubts
from raybench.scenario.prepare import prepare
from raybench.storage.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("example") / "bring_your_own"
    write_example(folder, recipe=Recipe(epochs=6, lr=0.1, batch_size=32), width=6)
    return folder


@pytest.fixture(scope="module")
def scenario(folder, request, tmp_path_factory):
    """Return the scenario of the template experiment, loaded in the folder of the example."""
    template = request.config.rootpath / "experiments" / "bring_your_own.yaml"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        experiment, _ = load_experiment(template, ["model.width=6", "methods={finetune: {}}"])
    return prepare(experiment, Store(str(tmp_path_factory.mktemp("runs"))))


def test_the_manifest_lists_every_digit_once_and_marks_the_training_rows(folder):
    with (folder / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["path"] for row in rows}) == 1797
    assert sum(row["split"] == "train" for row in rows) == NUM_TRAIN
    forgotten = [int(line) for line in (folder / "forget.txt").read_text().split()]
    assert len(forgotten) == NUM_FORGET
    assert {rows[i]["split"] for i in forgotten} == {"train"}


def test_the_files_hold_the_pixels_that_the_model_was_trained_on(folder, scenario):
    digits = data.load("digits").pixels
    read = scenario.data()
    assert np.array_equal(read.pixels, np.repeat(digits, 3, axis=3))
    assert (read.part == TRAIN).sum() == NUM_TRAIN
    assert (read.part == TEST).sum() == 1797 - NUM_TRAIN


def test_no_sample_the_checkpoint_was_trained_on_has_an_unseen_role(scenario):
    splits, part = scenario.splits(), scenario.data().part
    for role in ("retain", "forget"):
        assert set(part[splits.ids(role)]) == {TRAIN}
    for role in ("validation", "calibration", "test", "unseen"):
        assert len(splits.ids(role))
        assert set(part[splits.ids(role)]) == {TEST}
    assert len(splits.ids("retain")) + len(splits.ids("forget")) == NUM_TRAIN


def test_the_checkpoint_is_the_original_and_fits_its_training_data(scenario):
    (job,) = train_jobs(scenario)
    import_models(scenario, [job], [])
    audit = train_job(scenario, job)["audit"]
    assert audit["retain_accuracy"] > 0.8
    assert doubts(scenario, {"model.pt": audit}) == []
    (notice,) = assumptions(scenario)
    assert "gap_to_ideal" in notice


def test_a_folder_that_is_not_empty_is_rejected(folder, tmp_path):
    with pytest.raises(UserError, match="is not an empty folder"):
        write_example(folder)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is not an empty folder"):
        write_example(tmp_path / "file")


def test_the_command_rejects_an_existing_folder_without_a_traceback(folder):
    command = [sys.executable, "-m", "raybench.example", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("raybench.example: ")
    assert "Traceback" not in done.stderr


def test_the_checkpoint_loads_into_a_plain_model(folder):
    model = models.small_cnn(10, 3, 6)
    keys = model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    assert not keys.missing_keys
    assert not keys.unexpected_keys
