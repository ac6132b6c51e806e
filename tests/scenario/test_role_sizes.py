"""Data of one part without `data.sizes`, and messages about sizes whose last line works when it is pasted."""

import pytest
import yaml
from PIL import Image

from raybench.config.data import Sizes
from raybench.config.validation import parse_experiment
from raybench.data.role_sizes import example
from raybench.data.splits import ROLES
from raybench.errors import UserError
from raybench.scenario.prepare import prepare
from raybench.storage.store import Store

EXPERIMENT = {
    "name": "sizes",
    "data": {"dataset": "digits"},
    "forget": {"rule": "random", "fraction": 0.1},
    "model": {"name": "cnn", "width": 4},
    "methods": {"finetune": {}},
    "evaluate": {"alphas": [0.1]},
}
DIGITS = 1797


def splits(tmp_path, sizes=None, **sections):
    data = EXPERIMENT["data"] | ({} if sizes is None else {"sizes": sizes})
    experiment = parse_experiment({**EXPERIMENT, "data": data, **sections})
    return prepare(experiment, Store(str(tmp_path))).splits()


def test_data_without_official_splits_need_no_sizes(tmp_path):
    sizes = splits(tmp_path).sizes()
    assert sizes["retain"] + sizes["forget"] == DIGITS // 2
    assert sizes["forget"] in (89, 90)
    assert (sizes["validation"], sizes["calibration"], sizes["unseen"]) == (179, 179, 269)
    assert sum(sizes.values()) == DIGITS


def test_what_is_set_is_kept_and_the_rest_is_derived(tmp_path):
    sizes = splits(tmp_path, {"validation": 50, "unseen": 0.2}).sizes()
    assert sizes["validation"] == 50
    assert sizes["unseen"] == 359
    assert sizes["retain"] + sizes["forget"] == DIGITS // 2


def test_sizes_that_set_train_or_test_mean_what_they_meant_before():
    assert Sizes(train=200).of(one_pool=True) == Sizes(train=200).model_dump()
    assert Sizes(test=200).of(one_pool=True) == Sizes(test=200).model_dump()
    assert Sizes().of(one_pool=False) == Sizes().model_dump()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": None}, "train and test both take the rest of the dataset"),
        ({"train": 1700, "test": 400}, "has 1797 samples; the sizes request"),
        ({"train": 0, "test": 100}, "the training set is empty"),
        ({"train": 500, "validation": 0}, "leaves no samples for validation"),
        ({"train": 500, "calibration": 3}, "evaluate.alphas: 0.1 needs at least 9 calibration samples"),
    ],
)
def test_the_line_of_a_message_works_when_it_is_pasted(tmp_path, sizes, message):
    with pytest.raises(UserError, match=message) as caught:
        splits(tmp_path, sizes)
    text, line = str(caught.value).splitlines()
    assert text.endswith("these sizes fit, in the section `data`:")
    drawn = splits(tmp_path, **yaml.safe_load(line)).sizes()
    assert all(drawn[role] for role in ROLES)


@pytest.mark.parametrize("pools", [1, 2, 3])
@pytest.mark.parametrize("available", [3, 12, 40, 1000])
def test_an_example_leaves_samples_for_every_role_or_there_is_none(pools, available):
    roles = [["train", "validation", "calibration", "test", "unseen"]]
    if pools > 1:
        roles = [["train", "validation"], ["calibration", "test", "unseen"]]
    if pools > 2:
        roles = [["train", "validation"], ["calibration", "test"], ["unseen"]]
    line = example([(names, available) for names in roles], calibration=9)
    if line is None:
        assert available < 30
        return
    counts = yaml.safe_load(line)["sizes"]
    for names in roles:
        numbers = [counts[name] for name in names]
        rest = available - sum(number or 0 for number in numbers)
        assert numbers.count(None) == 1
        assert rest > 0
        assert all(number is None or number > 0 for number in numbers)
    assert counts["calibration"] is None or counts["calibration"] >= 9


def test_data_that_are_too_small_are_called_too_small(tmp_path):
    folder = tmp_path / "few"
    folder.mkdir()
    rows = ["path,label"]
    for i in range(4):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{i % 2}")
    (folder / "m.csv").write_text("\n".join(rows))
    data = {"dataset": "manifest", "root": str(folder), "view": {"size": 8}}
    with pytest.raises(UserError, match="the data set is too small for 6 roles"):
        splits(tmp_path, data=data, forget={"rule": "random", "count": 1})
