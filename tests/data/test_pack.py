import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench import data as datasets
from raybench.data.fixtures import write
from raybench.data.images import LEFT_OUT
from raybench.data.packing import shards
from raybench.data.packing.pack import pack
from raybench.data.reading.decode_image import decode
from raybench.errors import UserError

SMALL = {"shard_bytes": 12_000, "rows_per_group": 4, "workers": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return the folder of a small ImageNet: 24 JPEG files."""
    folder = tmp_path_factory.mktemp("photos") / "imagenet"
    write("imagenet", folder, images_per_class=4, num_classes=3)
    return folder


@pytest.fixture
def photo_data(photos):
    return datasets.load("imagenet", root=photos)


def contents(data):
    return [data.images.read(i) for i in range(data.num_samples)]


def snapshot(folder):
    """Return name, time and hash of every file below `folder`."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def hashes(folder):
    return {name: digest for name, (_, digest) in snapshot(folder).items()}


# -- what is written ---------------------------------------------------------------------------------------------------


def test_a_packed_set_is_the_set_that_was_packed(photos, photo_data, tmp_path):
    before = snapshot(photos)
    pack(photo_data, tmp_path / "out", **SMALL)
    packed = datasets.load("packed", root=tmp_path / "out")
    assert contents(packed) == contents(photo_data)
    np.testing.assert_array_equal(packed.labels, photo_data.labels)
    np.testing.assert_array_equal(packed.part, photo_data.part)
    assert packed.groups is None
    assert (packed.class_names, packed.mean, packed.std) == (photo_data.class_names, photo_data.mean, photo_data.std)
    assert len(packed.images.files) > 2
    assert snapshot(photos) == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.parquet", "meta.json", "shards"]


def test_shards_are_parquet_files_that_any_reader_takes(photo_data, tmp_path):
    pack(photo_data, tmp_path / "out", **SMALL)
    table = pyarrow.dataset.dataset(tmp_path / "out" / "shards").to_table()
    assert table.column_names == ["image", "label", "id", "group", "part", "hash"]
    assert table.column("id").to_pylist() == list(range(24))
    assert table.column("image").to_pylist() == contents(photo_data)
    assert table.column("label").to_pylist() == photo_data.labels.tolist()
    for image, digest in zip(table.column("image").to_pylist(), table.column("hash").to_pylist()):
        assert hashlib.blake2b(image, digest_size=8).hexdigest() == digest
    for path in (tmp_path / "out" / "shards").iterdir():
        groups = pq.read_metadata(path)
        assert all(groups.row_group(i).num_rows <= 4 for i in range(groups.num_row_groups))
        assert sum(groups.row_group(i).column(0).statistics is None for i in range(groups.num_row_groups))


def test_shards_are_about_as_large_as_asked(photo_data, tmp_path):
    sizes = photo_data.images.sizes()
    pack(photo_data, tmp_path / "out", shard_bytes=12_000, rows_per_group=4)
    packed = datasets.load("packed", root=tmp_path / "out")
    for number in range(len(packed.images.files)):
        assert sizes[packed.images.file == number].sum() < 12_000 + sizes.max()
    assert np.diff(packed.images.file).min() >= 0


def test_groups_and_several_labels_are_kept(photo_data, tmp_path):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (24, 3)).astype(np.uint8)
    data = replace(photo_data, labels=labels, groups=generator.integers(-5, 9, 24))
    pack(data, tmp_path / "out", **SMALL)
    packed = datasets.load("packed", root=tmp_path / "out")
    assert packed.task == "multi_label"
    np.testing.assert_array_equal(packed.labels, labels)
    np.testing.assert_array_equal(packed.groups, data.groups)


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_come_back_pixel_for_pixel(make_data, tmp_path, channels):
    data = make_data(30, channels=channels, test=10)
    pack(data, tmp_path / "out", shard_bytes=2000)
    packed = datasets.load("packed", root=tmp_path / "out")
    for i in range(30):
        np.testing.assert_array_equal(decode(packed.images.read(i), "x"), np.broadcast_to(data.images[i], (8, 8, 3)))
    assert packed.mean == data.mean * (3 // channels)
    assert packed.std == data.std * (3 // channels)
    np.testing.assert_array_equal(packed.part, data.part)


def test_a_sample_that_is_left_out_keeps_its_row_without_an_image(photo_data, tmp_path):
    part = photo_data.part.copy()
    part[5] = LEFT_OUT
    pack(replace(photo_data, part=part), tmp_path / "out", **SMALL)
    packed = datasets.load("packed", root=tmp_path / "out")
    assert packed.images.read(5) == b""
    assert packed.part[5] == LEFT_OUT
    assert contents(packed)[6:] == contents(photo_data)[6:]


def test_a_packed_set_can_be_packed_again(photo_data, tmp_path):
    pack(photo_data, tmp_path / "one", **SMALL)
    pack(datasets.load("packed", root=tmp_path / "one"), tmp_path / "two", workers=1)
    assert contents(datasets.load("packed", root=tmp_path / "two")) == contents(photo_data)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"", b"\x00" * 30, b"\x02\x00\x00\x00ab", b"ab", b"\x15\x00" * 9, b"x" * 1_200_000]),
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=30, deadline=None)
def test_every_byte_range_holds_its_image_whatever_the_bytes_are(tmp_path_factory, images):
    path = tmp_path_factory.mktemp("shard") / "shard.parquet"
    columns = {"image": pa.array(images, pa.binary()), "hash": [shards.hash_of(image) for image in images]}
    table = pa.table(columns, schema=pa.schema([pa.field("image", pa.binary(), nullable=False), ("hash", pa.string())]))
    pq.write_table(table, path, row_group_size=5, compression="none", use_dictionary=False, write_statistics=False)
    offsets, lengths = shards.find_images(path)
    whole = path.read_bytes()
    assert [whole[offset : offset + length] for offset, length in zip(offsets, lengths)] == images


# -- going on ----------------------------------------------------------------------------------------------------------


def test_a_pack_that_is_killed_goes_on_and_ends_as_if_it_never_was(photo_data, tmp_path, monkeypatch):
    pack(photo_data, tmp_path / "straight", **SMALL)
    decoded = []

    def killed_at_the_tenth(content, name):
        decoded.append(name)
        if len(decoded) > 10:
            raise KeyboardInterrupt
        return decode(content, name)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(shards, "decode", killed_at_the_tenth)
        with pytest.raises(KeyboardInterrupt):
            pack(photo_data, out, **SMALL | {"workers": 1})
    done = {name: entry for name, entry in snapshot(out).items() if name.startswith("shards/shard-")}
    assert len(done) >= 1
    with pytest.raises(UserError, match="is incomplete: run raybench pack again"):
        datasets.load("packed", root=out)

    counts = []
    pack(photo_data, out, **SMALL, progress=counts.append)
    assert sum(counts) == 24
    after = snapshot(out)
    assert {name: after[name] for name in done} == done  # finished shards were not touched
    assert hashes(out) == hashes(tmp_path / "straight")


@pytest.mark.parametrize("left", ["shards/.shard-00000.parquet.partial", "packing/.plan.json.partial"])
def test_what_a_killed_call_left_at_once_does_not_stop_the_next(photo_data, tmp_path, left):
    (tmp_path / "out" / left).parent.mkdir(parents=True)
    (tmp_path / "out" / left).write_bytes(b"PAR1 half")
    pack(photo_data, tmp_path / "out", **SMALL)
    assert contents(datasets.load("packed", root=tmp_path / "out")) == contents(photo_data)
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_a_shard_without_its_rows_and_a_truncated_one_are_written_again(photo_data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("raybench.data.packing.pack.finish", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pack(photo_data, out, **SMALL)
    (out / "packing" / "00000.parquet").unlink()
    second = out / "shards" / "shard-00001.parquet"
    second.write_bytes(second.read_bytes()[:-50])
    pack(photo_data, out, **SMALL)
    assert contents(datasets.load("packed", root=out)) == contents(photo_data)


def test_a_finished_pack_is_left_as_it_is(photo_data, tmp_path):
    pack(photo_data, tmp_path / "out", **SMALL)
    before = snapshot(tmp_path / "out")
    counts = []
    pack(photo_data, tmp_path / "out", **SMALL, progress=counts.append)
    assert snapshot(tmp_path / "out") == before
    assert counts == [24]


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_corrupt_images_are_named_and_once_repaired_the_pack_goes_on(tmp_path):
    write("image_folder", tmp_path / "own", images_per_class=4, num_classes=2, splits=())
    bad = [tmp_path / "own" / "class_0" / "1.JPG", tmp_path / "own" / "class_1" / "more" / "deep" / "0.png"]
    whole = [path.read_bytes() for path in bad]
    for path, content in zip(bad, whole):
        path.write_bytes(content[: len(content) // 2])
    load = lambda: datasets.load("image_folder", root=tmp_path / "own")  # noqa: E731
    small = {"shard_bytes": 1000, "rows_per_group": 4}
    message = r"2 of 8 images are corrupt: .*class_0/1\.JPG.*deep/0\.png.*intact copies and run the same"
    with pytest.raises(UserError, match=message):
        pack(load(), tmp_path / "out", **small)
    assert (tmp_path / "out" / "packing" / "corrupt.txt").read_text().count("\n") == 2
    assert any(name.startswith("shards/shard-") for name in hashes(tmp_path / "out"))
    for path, content in zip(bad, whole):
        path.write_bytes(content)
    pack(load(), tmp_path / "out", **small)
    assert contents(datasets.load("packed", root=tmp_path / "out")) == contents(load())
    pack(load(), tmp_path / "straight", **small)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "straight")


def test_only_the_shard_of_a_repaired_image_is_written_again(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "own")
    bad = sorted((tmp_path / "own").rglob("*.JPEG"))[-1]  # in the last shard: the others stay as they were cut
    whole = bad.read_bytes()
    bad.write_bytes(whole[:-500])
    with pytest.raises(UserError, match="1 of 24 images are corrupt"):
        pack(datasets.load("imagenet", root=tmp_path / "own"), tmp_path / "out", **SMALL)
    before = {name: entry for name, entry in snapshot(tmp_path / "out").items() if "shard-" in name}
    bad.write_bytes(whole)
    pack(datasets.load("imagenet", root=tmp_path / "own"), tmp_path / "out", **SMALL)
    after = snapshot(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert len([name for name in after if "shard-" in name]) == len(before) + 1


@pytest.mark.parametrize("content", ["notes.txt", "meta.json", "packing/plan.json"])
def test_a_folder_that_holds_something_else_is_refused_and_kept(photo_data, tmp_path, content):
    (tmp_path / content).parent.mkdir(exist_ok=True)
    (tmp_path / content).write_text("[]")
    with pytest.raises(UserError, match=r"is not empty and contains no pack|contains a pack of other data"):
        pack(photo_data, tmp_path, **SMALL)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [content.rpartition("/")[2]]


def test_other_data_and_other_settings_are_not_mixed_into_a_pack(photo_data, make_data, tmp_path):
    pack(photo_data, tmp_path / "out", **SMALL)
    with pytest.raises(UserError, match=r"other data or settings \(data, files\)"):
        pack(make_data(), tmp_path / "out", **SMALL)
    with pytest.raises(UserError, match=r"other data or settings \(rows_per_group\)"):
        pack(photo_data, tmp_path / "out", **SMALL | {"rows_per_group": 8})


@pytest.mark.parametrize("inner", ["", "packed", "train/packed"])
def test_a_pack_inside_the_data_is_refused(photos, photo_data, inner):
    with pytest.raises(UserError, match="the folder of the data; choose another folder"):
        pack(photo_data, photos / inner)


@pytest.mark.parametrize("sizes", [{"shard_bytes": 0}, {"rows_per_group": 0}])
def test_shards_of_nothing_are_refused(photo_data, tmp_path, sizes):
    with pytest.raises(UserError, match="should be at least 1"):
        pack(photo_data, tmp_path / "out", **sizes)


def test_a_file_in_the_place_of_the_folder_is_refused(photo_data, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="contains no pack"):
        pack(photo_data, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_an_image_that_does_not_read_back_as_it_was_written_is_noticed(photo_data, tmp_path, monkeypatch):
    find = shards.find_images

    def damaged(path):
        whole = bytearray(path.read_bytes())
        place = whole.index(photo_data.images.read(1)) + 100
        whole[place] ^= 1
        path.write_bytes(whole)
        return find(path)

    monkeypatch.setattr("raybench.data.packing.pack.find_images", damaged)
    with pytest.raises(UserError, match="image 1 differs from what was written"):
        pack(photo_data, tmp_path / "out", **SMALL)
    assert not list((tmp_path / "out" / "shards").glob("shard-*"))


def claim_samples(path, number):
    """Write a number of samples that would take terabytes if it were believed."""
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_samples": number}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda out: next((out / "shards").iterdir()).unlink(), "is missing; pack the data set again"),
        (lambda out: next((out / "shards").iterdir()).write_bytes(b"PAR1"), "has 4 bytes, expected"),
        (lambda out: (out / "index.parquet").unlink(), r"index\.parquet: cannot be read"),
        (lambda out: (out / "meta.json").write_text("{"), "not written by raybench pack"),
        (lambda out: (out / "meta.json").write_text('{"format": 0}'), "not format 1 of raybench pack"),
        (lambda out: (out / "meta.json").unlink(), r"contains no meta\.json"),
        (
            lambda out: pq.write_table(pq.read_table(out / "index.parquet")[:-1], out / "index.parquet"),
            "23 rows, expected",
        ),
        (lambda out: claim_samples(out / "meta.json", 10**12), "24 rows, expected ids 0 to 999999999999"),
    ],
)
def test_a_damaged_pack_is_refused_before_it_is_used(photo_data, tmp_path, damage, message):
    pack(photo_data, tmp_path / "out", **SMALL)
    damage(tmp_path / "out")
    with pytest.raises(UserError, match=message):
        datasets.load("packed", root=tmp_path / "out")


def test_meta_says_what_was_packed(photo_data, tmp_path):
    pack(photo_data, tmp_path / "out", **SMALL)
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["fingerprint"] == photo_data.fingerprint()
    assert meta["num_samples"] == 24


def test_real_photographs_are_packed(shared_data, tmp_path, monkeypatch):
    monkeypatch.setattr("raybench.data.files.embedded.CACHE", tmp_path / "cache")
    data = datasets.load("manifest", root=shared_data / "caltech101")
    pack(data, tmp_path / "out", shard_bytes=3_000_000)
    packed = datasets.load("packed", root=tmp_path / "out")
    assert len(packed.images.files) == 3
    assert contents(packed) == contents(data)
    np.testing.assert_array_equal(packed.part, data.part)
