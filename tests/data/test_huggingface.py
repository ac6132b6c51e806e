"""Data sets of Hugging Face's library on disk: Parquet files as on the hub, and what `save_to_disk` writes."""

import builtins
import io

import numpy as np
import pytest
from PIL import Image

from raybench import data
from raybench.data.files import embedded
from raybench.data.fixtures import write
from raybench.data.images import TEST, TRAIN
from raybench.errors import UserError

library = pytest.importorskip("datasets", reason="needs raybench[huggingface]")
library.disable_progress_bars()
NAMES = ["cat", "dog"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(embedded, "CACHE", folder)
    return folder


def part(shades, **columns):
    """Return a split of one-colored images whose gray values are `shades` and whose labels alternate."""
    features = {"image": library.Image(), "label": library.ClassLabel(names=NAMES)}
    features |= {name: library.Value("string") for name in columns}
    images = [Image.fromarray(np.full((8, 8, 3), shade, np.uint8)) for shade in shades]
    labels = [i % 2 for i in range(len(shades))]
    return library.Dataset.from_dict({"image": images, "label": labels, **columns}, features=library.Features(features))


def shades(images):
    read = (Image.open(io.BytesIO(images.images.read(i))) for i in range(images.num_samples))
    return [image.getpixel((0, 0))[0] for image in read]


def test_splits_that_were_saved_are_read_in_order_with_labels_and_class_names(tmp_path):
    both = {"test": part([5, 6, 7]), "train": part([1, 2, 3, 4])}
    library.DatasetDict(both).save_to_disk(str(tmp_path / "saved"))
    read = data.load("huggingface", root=tmp_path / "saved")
    assert shades(read) == [1, 2, 3, 4, 5, 6, 7]
    assert read.part.tolist() == [TRAIN] * 4 + [TEST] * 3
    assert read.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert read.class_names == ("cat", "dog")


def test_one_split_that_was_saved_is_data_of_one_part_and_keeps_its_selection(tmp_path):
    part([1, 2, 3, 4], owner=["a", "b", "b", "a"]).select([3, 0, 1]).save_to_disk(str(tmp_path / "saved"))
    read = data.load("huggingface", root=tmp_path / "saved", group="owner")
    assert shades(read) == [4, 1, 2]
    assert read.part.tolist() == [TRAIN] * 3
    assert read.groups.tolist() == [0, 0, 1]


def test_parquet_files_are_read_shard_by_shard_with_the_same_pixels(tmp_path, cache):
    for name, values in (("train-00000-of-00002", [1, 2]), ("train-00001-of-00002", [3]), ("validation-00000", [9])):
        part(values).to_parquet(str(tmp_path / f"{name}.parquet"))
    read = data.load("huggingface", root=tmp_path)
    assert shades(read) == [1, 2, 3, 9]
    assert read.part.tolist() == [TRAIN, TRAIN, TRAIN, TEST]
    assert len(list(cache.glob("*.images"))) == 3
    assert shades(data.load("huggingface", root=tmp_path)) == [1, 2, 3, 9]  # from the cache


def test_the_fixture_is_read_like_data_of_the_hub(tmp_path):
    write("huggingface", tmp_path / "hub", images_per_class=3, num_classes=2)
    read = data.load("huggingface", root=tmp_path / "hub")
    assert read.labels.tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert read.class_names == ("thing 0", "thing 1")
    assert read.part.tolist() == [TRAIN] * 6 + [TEST] * 6
    assert Image.open(io.BytesIO(read.images.read(0))).format == "PNG"


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        data.load("huggingface", root=tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"neither dataset_info\.json.* nor \.parquet files"):
        data.load("huggingface", root=tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match=r"train\.parquet cannot be read"):
        data.load("huggingface", root=tmp_path)
    part([1, 2]).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(UserError, match=r"unknown column for option `label`: 'labels'; did you mean 'label'"):
        data.load("huggingface", root=tmp_path, label="labels")
    part([1, 2]).to_parquet(str(tmp_path / "more.parquet"))
    with pytest.raises(UserError, match=r"more\.parquet does not say its split"):
        data.load("huggingface", root=tmp_path)
    part([1, 2]).remove_columns("label").to_parquet(str(tmp_path / "test.parquet"))
    (tmp_path / "more.parquet").unlink()
    with pytest.raises(UserError, match=r"split test .* has no column 'label'"):
        data.load("huggingface", root=tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        data.load("huggingface", root=tmp_path / "bad")


def test_a_row_without_bytes_is_named(tmp_path):
    features = library.Features({"image": {"bytes": library.Value("binary"), "path": library.Value("string")}})
    features["label"] = library.Value("int64")
    rows = {"image": [{"bytes": b"x", "path": None}, {"bytes": None, "path": "a.png"}], "label": [0, 1]}
    library.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(UserError, match="row 2 of split train has no bytes"):
        data.load("huggingface", root=tmp_path / "saved")


def test_without_the_library_the_message_names_the_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "datasets":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"needs the library datasets: pip install 'raybench\[huggingface\]'"):
        data.load("huggingface", root=tmp_path)
