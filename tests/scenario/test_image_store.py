"""Images of an experiment on their way into the store: decoded once or streamed, corrupt ones refused or left out."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from raybench.data import fixtures
from raybench.data.reading import decode_dataset
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError
from raybench.jobs.plan import train_jobs
from raybench.jobs.train import train_job
from raybench.scenario import image_store
from raybench.scenario.prepare import prepare
from raybench.storage import checksums
from raybench.storage.errors import DamagedError
from raybench.storage.store import Store

SIZES = {"train": 40, "validation": 20, "calibration": 20, "unseen": 20}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "set"
    fixtures.write("image_folder", folder, images_per_class=40)
    return folder


@pytest.fixture
def root(written, tmp_path):
    return shutil.copytree(written, tmp_path / "set")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(image_store, "CACHE", tmp_path / "cache")
    return Store(str(tmp_path / "runs"))


@pytest.fixture
def make(make_experiment, root):
    def experiment(**data):
        given = {"dataset": "image_folder", "root": str(root), "view": {"size": 16}, "sizes": SIZES, **data}
        return make_experiment(data=given, forget__count=10, evaluate__alphas=[0.2], train__epochs=1)

    return experiment


def test_files_are_decoded_once_however_often_the_run_is_started(make, store, monkeypatch):
    first = prepare(make(), store)
    assert first.data().pixels.shape[1:] == (16, 16, 3)
    monkeypatch.setattr(decode_dataset, "decode_all", None)
    assert prepare(make(), store).data_key == first.data_key
    monkeypatch.undo()
    assert prepare(make(view={"size": 12}), store).data_key != first.data_key


def test_files_need_a_view_and_an_array_takes_none(make, make_experiment, store):
    with pytest.raises(UserError, match=r"data\.view is missing"):
        prepare(make(view=None), store)
    with pytest.raises(UserError, match=r"data\.view is for files"):
        prepare(make_experiment(data__view={"size": 8}), store)


def test_a_set_above_the_limit_is_streamed_and_trains_as_the_decoded_one(make, store, monkeypatch):
    decoded = prepare(make(), store)
    monkeypatch.setattr(image_store, "RESIDENT_LIMIT", 1000)
    streamed = prepare(make(), store)
    assert isinstance(streamed.data().images, Encoded)
    ids = np.arange(7)
    one, other = (scenario.samples(ids).batch(ids, generator=None)[0] for scenario in (decoded, streamed))
    assert np.array_equal(one.numpy(), other.numpy())


def test_streamed_files_may_move_between_runs(make, store, root, tmp_path):
    first = prepare(make(stream=True), store)
    moved = root.rename(tmp_path / "moved")
    again = prepare(make(stream=True, root=str(moved)), store)
    assert again.data_key == first.data_key
    assert str(moved) in again.data().images.name(0)


def test_a_corrupt_image_is_named_and_refused_or_left_out(make, store, root):
    broken = sorted(path for path in root.rglob("*") if path.is_file())[3]
    broken.write_bytes(broken.read_bytes()[:200])
    for stream in (False, True):
        with pytest.raises(UserError, match=broken.name):
            prepare(make(stream=stream), store)
        kept = prepare(make(stream=stream, on_corrupt="skip"), store)
        (bad,) = np.flatnonzero(kept.data().part == 255)
        assert all(bad not in ids for ids in kept.splits().role.values())
        with pytest.raises(UserError, match=broken.name):  # what one run may skip, another still refuses
            prepare(make(stream=stream), store)


def test_a_scaled_down_copy_is_written_once_and_the_model_says_that_it_saw_it(make, store):
    experiment = make(stream=True, short_side_cache=20)
    experiment = experiment.model_copy(
        update={"train": experiment.train.model_copy(update={"augment": ["random_resized_crop"]})}
    )
    scenario = prepare(experiment, store)
    recipe = train_job(scenario, train_jobs(scenario)[0])["recipe"]
    assert (recipe["short_side_cache"], recipe["exact_pixels"]) == (20, False)
    assert train_jobs(scenario)[0].key != train_jobs(prepare(make(stream=True), store))[0].key
    (folder,) = (image_store.CACHE / "short-side").iterdir()
    assert (folder / "meta.json").is_file()


def test_a_scaled_down_copy_must_hold_the_view(make):
    with pytest.raises(ValueError, match="short_side_cache"):
        make(short_side_cache=10)


def test_normalization_is_the_data_sets_unless_the_experiment_says_otherwise(make, store):
    plain = prepare(make(normalize="none"), store).data()
    assert (plain.mean, plain.std) == ((0.0,) * 3, (1.0,) * 3)
    own = prepare(make(normalize={"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}), store).data()
    assert (own.mean, own.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


def pixel_folders(store):
    return sorted(path.parent.name for path in Path(store.uri).glob("artifacts/data/*/images.npy"))


def test_pixels_are_stored_once_whatever_labels_and_normalization_are(make, store):
    keys = {
        prepare(make(**settings), store).data_key
        for settings in ({}, {"normalize": "none"}, {"mislabel": {"fraction": 0.1, "seed": 1}}, {"on_corrupt": "skip"})
    }
    assert len(keys) == 3
    assert len(pixel_folders(store)) == 1
    prepare(make(view={"size": 12}), store)
    assert len(pixel_folders(store)) == 2


def test_files_are_read_again_only_after_a_change(make, store, root, monkeypatch):
    first = prepare(make(), store).data_key
    read = []
    monkeypatch.setattr(Encoded, "read", lambda encoded, i: read.append(encoded.name(i)))
    assert prepare(make(), store).data_key == first
    assert read == []
    monkeypatch.undo()
    monkeypatch.setattr(image_store, "CACHE", Path(store.uri))  # undone with the rest
    changed = next(path for path in sorted(root.rglob("*")) if path.is_file())
    other = next(path for path in sorted(root.rglob("*"), reverse=True) if path.is_file())
    changed.write_bytes(other.read_bytes())
    assert prepare(make(), store).data_key != first


def test_stored_pixels_are_verified_again_only_after_a_change(make, store, monkeypatch):
    prepare(make(), store)
    prepare(make(), store)
    hashed = []
    checksum = checksums._checksum
    monkeypatch.setattr(checksums, "_checksum", lambda path: hashed.append(path.name) or checksum(path))
    prepare(make(), store)
    assert hashed == []
    (pixels,) = Path(store.uri).glob("artifacts/data/*/images.npy")
    content = bytearray(pixels.read_bytes())
    content[-1] ^= 1
    pixels.write_bytes(content)
    with pytest.raises(DamagedError, match=pixels.parent.name):
        prepare(make(), store)
    assert prepare(make(), store).data().pixels.shape[1:] == (16, 16, 3)
    assert hashed


def test_pixels_are_verified_again_after_a_week(make, store, monkeypatch):
    prepare(make(), store)
    prepare(make(), store)
    hashed = []
    checksum = checksums._checksum
    monkeypatch.setattr(checksums, "_checksum", lambda path: hashed.append(path.name) or checksum(path))
    later = time.time() + checksums.VERIFIED_SECONDS + 1
    monkeypatch.setattr(checksums.time, "time", lambda: later)
    prepare(make(), store)
    assert "images.npy" in hashed
