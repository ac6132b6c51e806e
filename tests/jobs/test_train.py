"""Test the training of one model: complete or absent, resumed bit for bit, alone or data parallel."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import raybench.jobs.train as module
from raybench import models
from raybench.data.reading.batches import ResidentSplit
from raybench.errors import UserError
from raybench.jobs.imports import import_models
from raybench.jobs.plan import train_jobs
from raybench.jobs.train import train_job
from raybench.scenario.prepare import prepare
from raybench.storage.store import Store


class Killed(BaseException):
    """Simulates the death of a worker within an epoch."""


@pytest.fixture
def fresh(make_experiment, tmp_path):
    """Prepare a variant of the tiny experiment on an empty store; return the scenario and its training jobs."""

    def make(**changes):
        scenario = prepare(make_experiment(**changes), Store(str(tmp_path / "runs")))
        return scenario, train_jobs(scenario)

    return make


def weights(scenario, job):
    return models.read_weights(scenario.store.read_bytes(f"{job.key}.pt"))


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def without_times(record):
    times = {"seconds": 0, "data_wait": 0}
    return {**record, **times, "curve": [{**row, **times} for row in record["curve"]]}


def stamps(scenario):
    root = scenario.store.path("artifacts")
    return {
        os.path.join(folder, name): os.stat(os.path.join(folder, name)).st_mtime_ns
        for folder, _, names in os.walk(root)
        for name in names
    }


def test_a_model_leaves_weights_a_record_and_an_audit_and_no_checkpoint(trained):
    scenario, job, record = trained.scenario, trained.jobs[0], trained.records[0]
    store = scenario.store
    assert store.exists(f"{job.key}.pt")
    assert store.read_json(f"{job.key}.json") == {key: value for key, value in record.items() if key != "audit"}
    assert store.read_json(job.audit_key) == record["audit"]
    assert store.keys("artifacts/checkpoints") == []
    assert record["samples_forward"] == record["samples_backward"] == 2 * 200
    assert record["steps"] == 2 * 7
    assert record["recipe"]["epochs"] == 2
    assert record["parameters"] == sum(p.numel() for p in scenario.load(job.key).parameters())


def test_retrained_models_never_saw_the_forget_set(trained):
    assert [job.roles for job in trained.jobs] == [("retain", "forget"), ("retain",), ("retain",)]
    assert trained.records[1]["samples_forward"] == 2 * 160


def test_a_second_call_changes_no_file(trained):
    before = stamps(trained.scenario)
    assert [train_job(trained.scenario, job) for job in trained.jobs] == trained.records
    assert stamps(trained.scenario) == before


def test_a_missing_audit_is_taken_again_without_training(fresh):
    scenario, (job, *_) = fresh()
    record = train_job(scenario, job)
    before = stamps(scenario)
    scenario.store.delete(job.audit_key)
    assert train_job(scenario, job) == record
    after = stamps(scenario)
    audit = scenario.store.path(job.audit_key)
    assert {path: after[path] for path in after if path != audit} == {p: before[p] for p in before if p != audit}


@pytest.mark.parametrize("last", [0, 1])
def test_a_training_that_dies_goes_on_from_its_last_epoch_to_the_same_weights(trained, fresh, monkeypatch, last):
    scenario, (job, *_) = fresh()
    loop, epochs = module.train, []

    def until(model, split, recipe, *, on_epoch, save, **rest):
        def note(progress):
            epochs.append(progress.epoch)
            on_epoch(progress)

        def save_and_die(state):
            save(state)
            if epochs == list(range(last + 1)):
                raise Killed

        loop(model, split, recipe, on_epoch=note, save=save_and_die, **rest)

    monkeypatch.setattr(module, "train", until)
    with pytest.raises(Killed):
        train_job(scenario, job)
    assert not scenario.store.exists(f"{job.key}.json")
    epochs.append("died")
    record = train_job(scenario, job)
    assert epochs == [*range(last + 1), "died", *range(last + 1, 2)]
    assert equal(weights(scenario, job), weights(trained.scenario, trained.jobs[0]))
    assert record["audit"] == trained.records[0]["audit"]
    assert without_times(record) == without_times(trained.records[0])
    curves = EventAccumulator(scenario.store.path(f"{scenario.folder}/tensorboard/training/original")).Reload()
    assert [event.step for event in curves.Scalars("train/loss")] == [0, 1]


@pytest.mark.parametrize("saves", [1, 5, 9, 13])
def test_a_training_that_dies_within_an_epoch_goes_on_with_its_next_batch(trained, fresh, monkeypatch, saves):
    scenario, (job, *_) = fresh(train__checkpoint_minutes=1e-9)
    assert job == trained.jobs[0]
    loop, steps = module.train, []

    def until(*given, save, **rest):
        def save_and_die(state):
            save(state)
            steps.append(state.get("partial", {}).get("steps"))
            if len(steps) == saves:
                raise Killed

        loop(*given, save=save_and_die, **rest)

    monkeypatch.setattr(module, "train", until)
    with pytest.raises(Killed):
        train_job(scenario, job)
    record = train_job(scenario, job)
    assert steps == [1, 2, 3, 4, 5, 6, None] * 2
    assert equal(weights(scenario, job), weights(trained.scenario, trained.jobs[0]))
    assert without_times(record) == without_times(trained.records[0])
    assert 0 <= record["data_wait"] < 1
    curves = EventAccumulator(scenario.store.path(f"{scenario.folder}/tensorboard/training/original")).Reload()
    assert [event.step for event in curves.Scalars("train/loss")] == [0, 1]


def test_weights_without_a_record_do_not_count_as_a_model(trained, fresh):
    scenario, (job, *_) = fresh()
    scenario.store.write_bytes(f"{job.key}.pt", b"half of it")
    train_job(scenario, job)
    assert equal(weights(scenario, job), weights(trained.scenario, trained.jobs[0]))


def test_curves_show_training_and_validation(trained):
    curves = EventAccumulator(
        trained.scenario.store.path(f"{trained.scenario.folder}/tensorboard/training/retrained-1")
    ).Reload()
    tags = {"train/loss", "train/lr", "train/data_wait", "validation/accuracy", "validation/loss"}
    assert set(curves.Tags()["scalars"]) == tags
    record = trained.records[1]
    assert curves.Scalars("train/loss")[-1].value == pytest.approx(record["loss"], rel=1e-5)
    assert curves.Scalars("validation/accuracy")[-1].value == pytest.approx(
        record["audit"]["validation_accuracy"], rel=1e-5
    )


def test_training_and_its_audit_touch_no_test_calibration_or_unseen_sample(fresh, monkeypatch):
    scenario, jobs = fresh()
    hidden = np.concatenate([scenario.splits().ids(role) for role in ("test", "calibration", "unseen")])
    batch = ResidentSplit.batch

    def guarded(self, positions, *, generator):
        assert not np.isin(self.ids[np.asarray(positions)], hidden).any(), "a hidden sample was read"
        return batch(self, positions, generator=generator)

    monkeypatch.setattr(ResidentSplit, "batch", guarded)
    for job in jobs:
        assert train_job(scenario, job)["audit"]["validation_accuracy"] > 0
    with pytest.raises(AssertionError, match="hidden"):
        scenario.split("test").batch(np.arange(3), generator=None)


# -- a user-provided checkpoint ------------------------------------------------------------------------------------


def test_a_users_checkpoint_becomes_the_original_and_is_audited(trained, fresh, tmp_path):
    file = tmp_path / "mine.pt"
    torch.save({"state_dict": weights(trained.scenario, trained.jobs[0]), "epoch": 7}, file)
    scenario, (job, *_) = fresh(model__checkpoint=str(file))
    import_models(scenario, [job], [])
    record = train_job(scenario, job)
    assert record["audit"] == trained.records[0]["audit"]
    assert record["recipe"] is None
    before = stamps(scenario)
    import_models(scenario, [job], [])
    assert stamps(scenario) == before


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_wrong_checkpoint_is_refused_and_nothing_is_stored(fresh, tmp_path):
    file = tmp_path / "mine.pt"
    torch.save(models.build("cnn", num_classes=10, channels=1, width=6).state_dict(), file)
    scenario, (job, *_) = fresh(model__checkpoint=str(file))
    with pytest.raises(UserError, match=r"mine\.pt is of another architecture"):
        import_models(scenario, [job], [])
    file.write_bytes(pickle.dumps({"state_dict": Bomb(str(tmp_path / "ran"))}))
    with pytest.raises(UserError, match="pickled code"):
        import_models(scenario, [job], [])
    assert not (tmp_path / "ran").exists()
    assert scenario.store.keys("artifacts/models") == []


# -- data parallel -----------------------------------------------------------------------------------------------------

WORKER = """
import hashlib, io, sys
import torch
import torch.distributed as dist
from raybench import models
from raybench.config.reading import load_experiment
from raybench.jobs.plan import train_jobs
from raybench.scenario.prepare import prepare
from raybench.storage.store import Store
from raybench.engine.synchronized import group_mean
from raybench.jobs.train import Workers, train_job

rank, folder, file = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
experiment, _ = load_experiment(file)


class Killed(BaseException): ...


dying, messages = False, []


def mean(value):
    # every worker takes part in every step, so all of them die at the same one
    messages.append(1)
    if dying and len(messages) > 10:  # in the third of 7 steps of the second epoch
        raise Killed
    return group_mean(value)


def from_first(value):
    shared = [value]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]


wrapped = []


def wrap(model):
    wrapped.append(torch.nn.parallel.DistributedDataParallel(model))
    return wrapped[-1]


def train(name):
    if rank == 0:
        prepare(experiment, Store(f"{folder}/{name}"))
    dist.barrier()
    scenario = prepare(experiment, Store(f"{folder}/{name}"))
    job = train_jobs(scenario)[0]
    messages.clear()
    workers = Workers(rank=rank, size=2, wrap=wrap, from_first=from_first, mean=mean)
    return train_job(scenario, job, workers)


def digest():
    parameters = [p.detach().numpy().tobytes() for p in wrapped[-1].module.parameters()]
    return hashlib.sha256(b"".join(parameters)).hexdigest()


record = train("whole")
print("whole", digest(), (record or {}).get("workers"), (record or {}).get("steps"), flush=True)
dying = True
try:
    train("killed")
except Killed:
    print("killed", flush=True)
dying = False
dist.barrier()
if rank == 0:
    (key,) = Store(f"{folder}/killed").keys("artifacts/checkpoints")
    content = io.BytesIO(Store(f"{folder}/killed").read_archive(key))
    checkpoint = torch.load(content, weights_only=True)
    print("checkpoint", checkpoint["epoch"], checkpoint["partial"]["steps"], flush=True)
dist.barrier()
record = train("killed")
print("resumed", digest(), (record or {}).get("workers"), (record or {}).get("steps"), flush=True)
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def parallel(tiny, tmp_path_factory):
    """Train the original in two processes, uninterrupted and interrupted within an epoch; return what each printed."""
    folder = tmp_path_factory.mktemp("ddp")
    content = tiny(train__workers=2, train__epochs=3, train__checkpoint_minutes=1e-9, methods={"finetune": {}})
    (folder / "experiment.yaml").write_text(yaml.safe_dump(content))
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(folder), str(folder / "experiment.yaml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return folder, [[line.split() for line in out.splitlines()] for out, _ in outputs]


@pytest.mark.slow
def test_two_workers_end_with_the_same_weights_and_one_record(parallel):
    _, (first, second) = parallel
    assert first[0][:2] == second[0][:2]
    assert first[0][2:] == ["2", str(3 * 7)]
    assert second[0][2:] == ["None", "None"]


@pytest.mark.slow
def test_two_workers_resume_from_a_checkpoint_to_the_same_weights_bit_for_bit(parallel):
    folder, (first, second) = parallel
    assert [line[0] for line in second] == ["whole", "killed", "resumed"]
    assert [line[0] for line in first] == ["whole", "killed", "checkpoint", "resumed"]
    assert first[2][1:] == ["0", "2"]  # the last complete epoch, steps of the next
    assert first[0][1] == first[3][1] == second[2][1]
    stores = [Store(str(folder / name)) for name in ("whole", "killed")]
    contents = []
    for store in stores:
        (key,) = store.keys("artifacts/models", suffix=".pt")
        contents.append(models.read_weights(store.read_bytes(key)))
    assert equal(*contents)


# -- separate recipes for retrained models, and initial weights --------------------------------------------------------


def test_only_the_retrained_models_follow_the_retrained_recipe(trained, fresh):
    other = {"epochs": 1, "lr": 0.05, "batch_size": 16, "accumulate": 2}
    scenario, jobs = fresh(train__retrained=other)
    assert jobs[0] == trained.jobs[0]
    record = train_job(scenario, jobs[1])
    assert record["recipe"].items() >= other.items()
    assert record["samples_forward"] == 160
    assert record["steps"] == 5
    alone, same = fresh(**{f"train__{key}": value for key, value in other.items()})
    train_job(alone, same[1])
    assert equal(weights(scenario, jobs[1]), weights(alone, same[1]))


def test_augmentation_of_the_retrained_models_is_their_own(fresh):
    scenario, jobs = fresh(train__retrained={"augment": ["flip"]})
    alone, same = fresh(train__augment=["flip"])
    for where, job in ((scenario, jobs[1]), (alone, same[1])):
        train_job(where, job)
    assert equal(weights(scenario, jobs[1]), weights(alone, same[1]))


def test_every_training_starts_from_the_weights_that_are_given_but_for_the_head(fresh, tmp_path):
    file = tmp_path / "pretrained.pt"
    pretrained = models.build("cnn", num_classes=100, channels=1, width=4, seed=77)
    file.write_bytes(models.to_bytes(pretrained))
    scenario, jobs = fresh(model__init=str(file))
    file.unlink()  # every worker reads it from the store
    for seed in (0, 5):
        start = scenario.fresh(seed)
        assert torch.equal(start[0].weight, pretrained[0].weight)
        assert start[13].weight.shape == (10, 16)
    assert not torch.equal(scenario.fresh(0)[13].weight, scenario.fresh(5)[13].weight)
    record = train_job(scenario, jobs[1])
    assert record["recipe"]["init"] == str(file)
    assert record["recipe"]["init_not_taken"] == ["13.weight", "13.bias"]
    other, plain = fresh()
    train_job(other, plain[1])
    assert not equal(weights(scenario, jobs[1]), weights(other, plain[1]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "model.init = .* cannot be read"),
        (b"nothing", "cannot be read safely"),
    ],
)
def test_weights_that_cannot_be_read_are_refused_before_anything_runs(fresh, tmp_path, content, message):
    file = tmp_path / "pretrained.pt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        fresh(model__init=str(file))
