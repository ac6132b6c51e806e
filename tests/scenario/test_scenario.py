"""What all work shares: prepared once, opened by key, refused where roles are too small."""

import pickle
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch

from raybench.data.images import pixels_hash
from raybench.data.splits import ROLES
from raybench.errors import UserError
from raybench.metrics.functions.conformal_quantile import quantile
from raybench.models import to_bytes
from raybench.scenario import image_store
from raybench.scenario.prepare import prepare
from raybench.storage.store import Store


def files(store, folder="artifacts"):
    selector = Path(store.path(folder))
    return {path: path.stat().st_mtime_ns for path in selector.rglob("*") if path.is_file()}


def test_preparing_again_writes_nothing(trained, make_experiment):
    store = trained.scenario.store
    before = files(store)
    again = prepare(make_experiment(), store)
    assert (again.data_key, again.splits_key) == (trained.scenario.data_key, trained.scenario.splits_key)
    assert files(store) == before


def test_images_are_shared_by_experiments_on_the_same_data_and_splits_are_not(trained, make_scenario):
    other = make_scenario(forget__count=30)
    assert other.data_key == trained.scenario.data_key
    assert other.splits_key != trained.scenario.splits_key
    assert make_scenario(data__mislabel=None).data_key != trained.scenario.data_key


def test_images_are_mapped_and_not_copied(trained):
    assert isinstance(trained.scenario.data().images, np.memmap)
    assert trained.scenario.data() is trained.scenario.data()


def test_a_worker_that_gets_a_scenario_by_pickle_finds_the_same_data(trained):
    content = pickle.dumps(trained.scenario)
    assert len(content) < 5000
    other = pickle.loads(content)
    for role in ROLES:
        assert np.array_equal(other.splits().ids(role), trained.scenario.splits().ids(role))
    x, y = other.split("test").batch(np.arange(5), generator=None)
    expected_x, expected_y = trained.scenario.split("test").batch(np.arange(5), generator=None)
    assert torch.equal(x, expected_x)
    assert torch.equal(y, expected_y)


def test_splits_are_saved_as_the_roles_that_were_drawn(trained):
    rows = trained.scenario.store.read_table(trained.scenario.splits_key).to_pydict()
    for role in ROLES:
        ids = [i for i, found in zip(rows["id"], rows["role"]) if found == role]
        assert ids == trained.scenario.splits().ids(role).tolist()


def test_a_limit_draws_the_same_samples_every_time_and_only_where_it_is_needed(trained):
    scenario = trained.scenario
    some = scenario.split("retain", limit=50).ids
    assert np.array_equal(some, scenario.split("retain", limit=50).ids)
    assert len(set(some)) == 50
    assert np.isin(some, scenario.splits().ids("retain")).all()
    assert np.array_equal(scenario.split("retain", limit=160).ids, scenario.splits().ids("retain"))


def test_several_roles_are_one_split_in_id_order(trained):
    found = trained.scenario.split("retain", "forget").ids
    splits = trained.scenario.splits()
    assert np.array_equal(found, np.sort(np.concatenate([splits.ids("retain"), splits.ids("forget")])))


def test_the_fingerprint_of_ids_tells_sets_of_samples_apart(trained):
    scenario = trained.scenario
    assert scenario.ids_fingerprint("retain", "forget") == scenario.ids_fingerprint("forget", "retain")
    assert len({scenario.ids_fingerprint(role) for role in ROLES}) == len(ROLES)


def test_a_fresh_model_depends_on_the_seed_alone(trained):
    scenario = trained.scenario
    assert to_bytes(scenario.fresh(3)) == to_bytes(scenario.fresh(3))
    assert not torch.equal(scenario.fresh(3)[0].weight, scenario.fresh(4)[0].weight)


def test_gray_images_are_widened_for_models_that_read_three_channels_and_resized_where_asked(make_scenario):
    scenario = make_scenario(model={"name": "resnet18", "stem": "cifar"}, data__resize=16)
    x, _ = scenario.split("test").batch(np.arange(2), generator=None)
    assert x.shape == (2, 3, 16, 16)
    with torch.no_grad():
        assert scenario.fresh(0).eval()(x).shape == (2, 10)


@pytest.mark.parametrize("role", ["validation", "calibration", "test", "unseen"])
def test_a_role_without_samples_is_refused(make_scenario, role):
    with pytest.raises(UserError, match=rf"data\.sizes leaves no samples for {role}"):
        make_scenario(**{f"data__sizes__{role}": 0})


@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 19), (0.1, 9), (0.01, 99), (0.3, 3), (0.07, 14)])
def test_calibration_must_be_large_enough_for_every_alpha_and_just_enough_is_enough(make_scenario, alpha, needed):
    assert np.isfinite(quantile(np.arange(needed), alpha))
    assert not np.isfinite(quantile(np.arange(needed - 1), alpha))
    make_scenario(data__sizes__calibration=needed, evaluate__alphas=[alpha])
    with pytest.raises(UserError, match=rf"{alpha} needs at least {needed} calibration samples.* gives {needed - 1};"):
        make_scenario(data__sizes__calibration=needed - 1, evaluate__alphas=[alpha])


@pytest.mark.parametrize(
    ("forget", "said"),
    [
        ({"rule": "random", "count": 0}, "count is 0"),
        ({"rule": "random", "count": 200}, "none is left to retain"),
        ({"rule": "random", "count": 9999}, "count is 9999"),
        ({"rule": "random"}, "exactly one of fraction and count"),
        ({"rule": "class", "classes": [77]}, "77"),
    ],
)
def test_a_forget_rule_that_selects_nothing_or_everything_is_refused(make_scenario, forget, said):
    with pytest.raises(UserError) as caught:
        make_scenario(forget=forget)
    assert said in str(caught.value)


def test_ids_that_do_not_exist_are_refused(make_scenario, tmp_path):
    file = tmp_path / "ids.txt"
    file.write_text("0\n999999\n")
    with pytest.raises(UserError, match="999999"):
        make_scenario(forget={"rule": "ids", "file": str(file)})


def test_a_remote_storage_is_filled_and_read_by_way_of_each_nodes_cache(make_experiment, tmp_path, monkeypatch):
    store = Store(f"fsspec+memory://{uuid.uuid4().hex}/runs")
    monkeypatch.setattr(image_store, "CACHE", tmp_path / "driver")
    scenario = prepare(make_experiment(), store)
    images = scenario.data().images[:5].copy()
    assert {key.rsplit("/")[-1] for key in store.keys(scenario.data_key)} >= {"meta.json", "labels.npy"}
    assert store.exists(f"artifacts/data/pixels-{pixels_hash(scenario.data().images)}/images.npy")
    monkeypatch.setattr(image_store, "CACHE", tmp_path / "worker")  # another node, whose cache is empty
    image_store.open_images.cache_clear()
    assert np.array_equal(scenario.data().images[:5], images)
    assert str(tmp_path / "worker") in str(scenario.data().images.filename)
    assert scenario.splits().sizes()["forget"] == 40
