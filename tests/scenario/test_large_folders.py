"""A data set with the layout of ImageNet, made of hard links: what a plan lists, hashes and keeps in memory."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from raybench.commands.check import plan_lines
from raybench.config.validation import parse_experiment
from raybench.data.files import folders, listed_folders
from raybench.data.fixtures import pictures
from raybench.data.reading import encoded as encoded_files
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.names import Names
from raybench.scenario import image_store, stored_splits
from raybench.scenario.prepare import prepare
from raybench.storage.store import Store

SIZES = {"train": 200, "validation": 40, "calibration": 40, "test": 40, "unseen": 40}
UNNEEDED = ("pandas", "sklearn", "torchvision", "ray", "matplotlib", "scipy.stats")


def write_layout(root: Path, *, classes: int, train: int, val: int) -> None:
    """Write train/<class>/ and val/<class>/ from hard links of four JPEG files; a million take 15 s."""
    root.mkdir(parents=True)
    sources = [root / f"source-{i}.jpg" for i in range(4)]
    for i, source in enumerate(sources):
        pictures.draw(source, i, np.random.default_rng(i), size=(20 + i, 24))
    for split, number in (("train", train), ("val", val)):
        for c in range(classes):
            folder = root / split / f"n{c:08d}"
            folder.mkdir(parents=True)
            for i in range(number):
                os.link(sources[(c + i) % 4], folder / f"{folder.name}_{i}.JPEG")
    for source in sources:
        source.unlink()


@pytest.fixture
def large(tmp_path, monkeypatch):
    monkeypatch.setattr(image_store, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(listed_folders, "SETTLED_NS", 0)
    monkeypatch.setattr(listed_folders, "REMEMBERED_FROM", 100)
    write_layout(tmp_path / "set", classes=20, train=40, val=10)
    time.sleep(0.02)  # longer than the resolution of the times of folders
    return tmp_path / "set"


@pytest.fixture
def experiment(make_experiment, large):
    data = {"dataset": "imagenet", "root": str(large), "view": {"size": 16}, "stream": True, "sizes": SIZES}
    return make_experiment(data=data, forget__count=20, evaluate__alphas=[0.2])


@pytest.fixture
def counts(monkeypatch):
    """Count the folders that are listed, the lists that are hashed and the files whose size is read one by one."""
    number: Counter[str] = Counter()
    calls = {
        "folders": (folders, "_entries"),
        "file lists": (Encoded, "_hash_listing"),
        "id lists": (stored_splits, "hash_ids"),
        "sizes": (encoded_files, "sizes_of"),
    }
    for name, (owner, attribute) in calls.items():
        function = getattr(owner, attribute)

        def counted(*arguments, name=name, function=function, **settings):
            number[name] += 1
            return function(*arguments, **settings)

        monkeypatch.setattr(owner, attribute, counted)
    return number


def test_a_second_plan_lists_no_class_folder_again(experiment, counts, tmp_path):
    store = Store(str(tmp_path / "runs"))
    first = list(plan_lines(experiment, store))
    assert counts["folders"] == 2 + 40
    assert counts["file lists"] == 1
    assert counts["sizes"] == 0
    counts.clear()
    assert list(plan_lines(experiment, store)) == first
    assert counts["folders"] == 2
    assert counts["file lists"] == 1
    assert counts["sizes"] == 0


def test_each_id_list_is_hashed_once_however_many_jobs_need_it(experiment, counts, tmp_path):
    list(plan_lines(experiment, Store(str(tmp_path / "runs"))))
    requests, roles = 2, 6
    assert 0 < counts["id lists"] <= requests * (roles + 2)  # retain + forget together, and what is measured of retain


def test_a_run_lists_every_folder_and_finds_what_a_plan_may_miss(experiment, large, tmp_path, counts):
    store = Store(str(tmp_path / "runs"))
    planned = prepare(experiment, store, trust_listing=True).data_key
    counts.clear()
    assert prepare(experiment, store).data_key == planned
    assert counts["folders"] == 2 + 40
    image = sorted((large / "train" / "n00000003").iterdir())[5]
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(content)
    prepare(experiment, store)  # remembers the folder again
    image.write_bytes(content + b"\0" * 8)  # does not change the folder's time
    assert prepare(experiment, store).data_key != planned


@pytest.mark.parametrize("change", ["add", "remove", "rename"])
def test_a_changed_folder_is_listed_again_and_no_other(experiment, large, tmp_path, counts, change):
    store = Store(str(tmp_path / "runs"))
    planned = prepare(experiment, store, trust_listing=True)
    folder = large / "train" / "n00000007"
    image = sorted(folder.iterdir())[0]
    if change == "add":
        os.link(image, folder / "new.JPEG")
    elif change == "remove":
        image.unlink()
    else:
        image.rename(folder / "new.JPEG")
    counts.clear()
    later = prepare(experiment, store, trust_listing=True)
    assert counts["folders"] == 2 + 1
    assert later.data_key != planned.data_key
    assert later.data_key == prepare(experiment, store).data_key


def test_images_that_were_all_replaced_are_noticed_by_a_plan(experiment, large, tmp_path):
    store = Store(str(tmp_path / "runs"))
    planned = prepare(experiment, store, trust_listing=True).data_key
    for image in (large / "val" / "n00000000").iterdir():
        with image.open("ab") as file:  # all images that are links to the same file
            file.write(b"\0")
    assert prepare(experiment, store, trust_listing=True).data_key != planned


def test_a_folder_that_has_just_changed_is_not_remembered(experiment, large, tmp_path, counts, monkeypatch):
    monkeypatch.setattr(listed_folders, "SETTLED_NS", 3600 * 10**9)
    store = Store(str(tmp_path / "runs"))
    for _ in range(2):
        counts.clear()
        prepare(experiment, store, trust_listing=True)
        assert counts["folders"] == 2 + 40


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_a_damaged_memory_is_passed_over(experiment, tmp_path, content):
    store = Store(str(tmp_path / "runs"))
    planned = prepare(experiment, store, trust_listing=True).data_key
    (remembered,) = (tmp_path / "cache" / "listings").glob("*.npz")
    remembered.write_bytes(content)
    assert prepare(experiment, store, trust_listing=True).data_key == planned
    assert listed_folders.read(remembered)


def test_names_in_one_buffer_are_the_names_of_a_list():
    names = ["a/1.png", "\u732b/\u00e9.png", "", "b c.JPG"]
    buffer = Names.of(names)
    assert [list(buffer), buffer.tolist(), [buffer[i] for i in range(4)]] == [names] * 3
    assert (len(buffer), buffer[-1]) == (4, "b c.JPG")
    assert buffer.below("x/").tolist() == [f"x/{name}" for name in names]
    assert Names.joined([buffer, Names.of([]), buffer]).tolist() == names * 2
    assert Names.of([]).tolist() == Names.of([]).below("x/").tolist() == []
    many = [str(i) for i in range(70_000)]
    assert Names.of(many).tolist() == many


PLAN = """
import json, re, sys
from pathlib import Path
from raybench.commands.check import plan_lines
from raybench.config.validation import parse_experiment
from raybench.config.validation import parse_experiment
from raybench.scenario import image_store
from raybench.storage.store import Store

image_store.CACHE = Path(sys.argv[2])
experiment = parse_experiment(json.loads(sys.argv[1]))
status = Path("/proc/self/status")  # ru_maxrss would include the memory of the process that started this one
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) / 1024
before = peak()
list(plan_lines(experiment, Store(sys.argv[3])))
print(json.dumps([peak() - before, [name for name in sys.argv[4].split() if name in sys.modules]]))
"""


@pytest.mark.slow
def test_a_second_plan_takes_a_few_hundred_bytes_per_file_and_imports_no_more_than_it_needs(
    make_experiment, tmp_path, monkeypatch
):
    monkeypatch.setattr(image_store, "CACHE", tmp_path / "cache")
    root, num_files = tmp_path / "set", 15_000
    write_layout(root, classes=20, train=num_files // 20 - 50, val=50)
    data = {"dataset": "imagenet", "root": str(root), "view": {"size": 32}, "stream": True, "sizes": {"train": None}}
    data["sizes"] |= dict.fromkeys(("validation", "calibration", "test", "unseen"), 200)
    content = make_experiment(data=data, forget__count=2000).model_dump(mode="json")
    del content["methods"]["own_tiny_methods.crash"]
    list(plan_lines(parse_experiment(content), Store(str(tmp_path / "runs"))))
    command = [sys.executable, "-c", PLAN, json.dumps(content), str(tmp_path / "cache"), str(tmp_path / "runs")]
    result = subprocess.run([*command, " ".join(UNNEEDED)], capture_output=True, text=True, check=True)
    megabytes, imported = json.loads(result.stdout.splitlines()[-1])
    assert imported == []
    assert megabytes < 60
