"""Models that the user brings: read into the store, refused where they cannot be audited, noted where they repeat."""

import shutil

import pytest
import safetensors.torch
import torch

from raybench import models
from raybench.errors import UserError
from raybench.jobs import plan
from raybench.jobs.imports import import_models
from raybench.jobs.train import train_job
from raybench.jobs.trial import trial_job
from raybench.models.checkpoints import digest, read_weights
from raybench.pipeline.notices import assumptions
from raybench.pipeline.results import Swept, Trained


def weights(seed, **changes):
    return models.build("cnn", **{"num_classes": 10, "channels": 1, "width": 4, "seed": seed, **changes}).state_dict()


@pytest.fixture
def write(tmp_path):
    """Write a checkpoint and return its path."""

    def save(name, content):
        path = tmp_path / name
        if path.suffix == ".safetensors":
            safetensors.torch.save_file(content, path)
        else:
            torch.save(content, path)
        return str(path)

    return save


@pytest.fixture
def bring(make_scenario):
    """Import models; return the scenario, its trained models and the notes."""

    def run(original=None, retrained=(), **methods):
        changes = {"methods": {name: {"checkpoints": list(files)} for name, files in methods.items()}}
        if original is not None:
            changes |= {"model__checkpoint": original, "sweep__seeds": 2}
        if retrained:
            changes |= {"train__retrained": {"checkpoints": list(retrained)}, "train__retrained_seeds": len(retrained)}
        scenario = make_scenario(**changes)
        trained = Trained(scenario)
        jobs = plan.imported_jobs(scenario, trained.originals)
        return scenario, trained, import_models(scenario, trained.jobs, jobs)

    return run


def test_every_kind_of_model_is_in_the_store_as_if_it_had_been_trained(bring, write):
    originals = [write(f"o{i}.pt", weights(i)) for i in range(2)]
    retrained = [write(f"r{i}.pt", {"model": weights(10 + i)}) for i in range(2)]
    theirs = [write(f"t{i}.safetensors", weights(20 + i)) for i in range(3)]
    scenario, trained, notes = bring(originals, retrained, theirs=theirs)
    assert notes == [f"{', '.join(retrained)}: the state dict is read under 'model'"]
    assert [job.name for job in trained.jobs] == ["original", "original-1", "retrained-1", "retrained-2"]
    unlearned = plan.imported_jobs(scenario, trained.originals)
    assert [(job.name, job.original_number) for job in unlearned] == [
        ("theirs-3", 0),
        ("theirs-4", 1),
        ("theirs-5", 0),
    ]
    for job, seed in zip([*trained.jobs, *unlearned], [0, 1, 10, 11, 20, 21, 22]):
        assert digest(read_weights(scenario.store.read_archive(f"{job.key}.pt"))) == digest(weights(seed))
    record = train_job(scenario, trained.jobs[2])
    assert record["recipe"] is record["seconds"] is record["samples_forward"] is None
    assert 0 <= record["audit"]["forget_accuracy"] <= 1
    for job in trained.jobs:
        train_job(scenario, job)
    results = [trial_job(scenario, job, trained.retrained) for job in unlearned]
    result = results[0]
    assert (result["status"], result["hyperparameters"], result["ledger"]) == ("finished", {}, {})
    assert set(result["audit"]) == set(record["audit"])
    assert Swept(scenario, trained).records == results


def test_a_renamed_file_is_the_same_model_and_a_changed_one_is_new(bring, write):
    def key(*files):
        _, trained, _ = bring(None, files)
        return [job.key for job in trained.jobs if job.kind == "retrained"]

    first = write("a.pt", weights(1))
    known = key(first)
    assert key(shutil.copy(first, f"{first}.copy")) == known
    write("a.pt", weights(2))
    assert key(first) != known


def test_one_file_is_another_model_in_another_role(bring, write):
    original, other = write("o.pt", weights(0)), write("t.pt", weights(1))
    scenario, trained, _ = bring(original, a=[other], b=[other], c=[original])
    keys = [trained.original, *(job.key for job in plan.imported_jobs(scenario, trained.originals))]
    assert len(set(keys)) == 4


def test_models_that_are_listed_in_two_roles_are_noted_or_refused(bring, write):
    original, retrained = write("o.pt", weights(0)), [write("r0.pt", weights(1)), write("r1.pt", weights(2))]
    same = write("same.safetensors", weights(1))
    _, _, (note,) = bring(original, retrained, theirs=[same])
    assert "r0.pt and " in note
    assert "a model of methods.theirs has the same weights as a retrained model" in note
    _, _, (note,) = bring(original, retrained, theirs=[original])
    assert "has the same weights as an original" in note
    for files in ((original, [*retrained, same], {}), (original, [original], {}), ([original, same], retrained, {})):
        with pytest.raises(UserError, match="list every model once"):
            bring(*files[:2], **files[2])
    with pytest.raises(
        UserError, match=r"a model of methods\.theirs has the same weights as a model of methods\.theirs"
    ):
        bring(original, theirs=[retrained[0], same])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (weights(1, width=5), r"bad\.pt is of another architecture.*shapes different"),
        (weights(1, num_classes=3), "has 3 outputs, the dataset has 10 classes"),
        ({key: value * torch.nan for key, value in weights(1).items()}, "NaN or infinite numbers"),
        ({"epoch": 3}, "no state dict"),
    ],
)
def test_what_cannot_be_audited_is_refused_and_not_stored(bring, write, content, message):
    with pytest.raises(UserError, match=message):
        bring(theirs=[write("bad.pt", content)])


def test_missing_and_damaged_files_are_named_with_their_key(bring, write, tmp_path):
    with pytest.raises(UserError, match=r"methods\.theirs\.checkpoints = 'no\.pt' cannot be read: No such file"):
        bring(theirs=["no.pt"])
    with pytest.raises(UserError, match=r"train\.retrained\.checkpoints = 'no\.pt' cannot be read"):
        bring(None, ["no.pt"])
    (tmp_path / "cut.pt").write_bytes(open(write("whole.pt", weights(1)), "rb").read()[:3000])  # noqa: SIM115
    with pytest.raises(UserError, match=r"cut\.pt cannot be read safely"):
        bring(theirs=[str(tmp_path / "cut.pt")])
    with pytest.raises(UserError, match="is no regular file"):
        bring(theirs=[str(tmp_path)])


def test_what_is_assumed_of_them_is_said_beforehand(bring, write):
    retrained = [write(f"r{i}.pt", weights(10 + i)) for i in range(3)]
    scenario, _, _ = bring(None, retrained, theirs=[write("t.pt", weights(1))])
    few, start = assumptions(scenario)
    assert "3 retrained models, and a verdict needs 5" in few
    assert "methods.theirs.checkpoints: file i is compared with original i mod 1" in start
