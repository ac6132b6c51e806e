import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench import data as datasets
from raybench.data.files import embedded, manifest_columns
from raybench.data.fixtures import write
from raybench.data.images import TEST, TRAIN, UNSEEN
from raybench.data.reading.decode_image import decode
from raybench.data.reading.encoded import WHOLE
from raybench.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(embedded, "CACHE", folder)
    return folder


@pytest.fixture
def folder(tmp_path):
    """Return a folder with four images, to write manifests into."""
    for name in ("a.png", "b.png", "more/c.png", "d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def csv(folder, *lines):
    (folder / "m.csv").write_text("\n".join(lines) + "\n")


def rows(**columns):
    """Write four rows: path, label and what else is given, as the lines of a CSV."""
    columns = {"path": ["a.png", "b.png", "more/c.png", "d.png"], "label": ["0", "1", "0", "1"]} | columns
    return [",".join(columns), *(",".join(row) for row in zip(*columns.values()))]


def contents(data):
    return [data.images.read(i) for i in range(data.num_samples)]


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [False, True])
def test_the_fixture_is_read_with_labels_groups_and_parts(tmp_path, kind):
    write("manifest", tmp_path / "own", images_per_class=4, num_classes=2, embedded=kind)
    data = datasets.load("manifest", root=tmp_path / "own")
    assert data.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1] * 3
    assert data.class_names == ("thing 0", "thing 1")
    assert data.part.tolist() == [TRAIN] * 8 + [TEST] * 8 + [UNSEEN] * 8
    assert np.unique(data.groups, return_counts=True)[1].tolist() == [3, 1] * 6
    assert contents(data) == [
        (tmp_path / "own" / "photos" / split / f"{label}_{i}.jpg").read_bytes()
        for split in ("train", "test", "unseen")
        for label in range(2)
        for i in range(4)
    ]


def test_a_path_and_a_label_are_enough(folder):
    csv(folder, *rows())
    data = datasets.load("manifest", root=folder)
    assert data.labels.tolist() == [0, 1, 0, 1]
    assert data.class_names == ("0", "1")
    assert data.groups is None
    assert set(data.part.tolist()) == {TRAIN}
    assert contents(data) == [b"a.png", b"b.png", b"more/c.png", b"d.png"]
    assert set(data.images.length.tolist()) == {WHOLE}


def test_texts_get_ids_in_sorted_order(folder):
    csv(folder, *rows(label=["dog", "ant", "dog", "Bee"]))
    data = datasets.load("manifest", root=folder)
    assert data.class_names == ("Bee", "ant", "dog")
    assert data.labels.tolist() == [2, 1, 2, 0]


def test_columns_may_have_other_names(folder):
    lines = rows(person=["x", "y", "x", "z"], phase=["Train", "VAL", "train", "unseen"])
    csv(folder, lines[0].replace("path", "file").replace("label", "what"), *lines[1:])
    options = {"image": "file", "label": "what", "group": "person", "split": "phase"}
    data = datasets.load("manifest", root=folder, **options)
    assert data.groups.tolist() == [0, 1, 0, 2]
    assert data.part.tolist() == [TRAIN, TEST, TRAIN, UNSEEN]


def test_groups_that_are_numbers_stay_as_they_are(folder):
    csv(folder, *rows(group=["7", "-1", "7", "900"]))
    assert datasets.load("manifest", root=folder).groups.tolist() == [7, -1, 7, 900]


def test_several_labels_make_a_multi_label_task(folder):
    csv(folder, *rows(smiling=["1", "0", "true", "False"], young=["0", "0", "1", "1"]))
    data = datasets.load("manifest", root=folder, labels=["young", "smiling"])
    assert data.task == "multi_label"
    assert data.class_names == ("young", "smiling")
    assert data.labels.tolist() == [[0, 1], [0, 0], [1, 1], [1, 0]]


def test_classes_may_be_named_or_counted_where_some_have_no_image(folder):
    csv(folder, *rows(label=["3", "1", "3", "1"]))
    with pytest.raises(UserError, match=r"labels run from 1 to 3, but no row has 0: number them from 0, or set"):
        datasets.load("manifest", root=folder)
    assert datasets.load("manifest", root=folder, classes=1000).num_classes == 1000
    named = datasets.load("manifest", root=folder, classes=["ant", "bee", "cat", "dog"])
    assert [named.class_names[label] for label in named.labels] == ["dog", "bee", "dog", "bee"]
    csv(folder, *rows(label=["dog", "bee", "dog", "bee"]))
    again = datasets.load("manifest", root=folder, classes=["ant", "bee", "cat", "dog"])
    np.testing.assert_array_equal(again.labels, named.labels)


def test_a_csv_of_excel_is_read(folder):
    (folder / "m.csv").write_bytes(b'\xef\xbb\xbfpath,label\r\n"a.png",cat\r\n"more/c.png","dog, small"\r\n')
    assert datasets.load("manifest", root=folder).class_names == ("cat", "dog, small")


@pytest.mark.parametrize("value", ["./a.png", "more/../a.png", "{root}/a.png"])
def test_a_path_may_be_written_in_several_ways(folder, value):
    csv(folder, "path,label", f"{value.format(root=folder)},0", "b.png,1")
    assert datasets.load("manifest", root=folder).images.files.tolist() == ["a.png", "b.png"]


# -- Parquet -----------------------------------------------------------------------------------------------------------


def parquet(folder, images, **columns):
    count = len(images)
    table = pa.table({"image": images, "label": list(range(count)), **columns})
    pq.write_table(table, folder / "m.parquet", row_group_size=2)
    return table


@pytest.mark.parametrize("compression", ["snappy", "none", "zstd"])
@pytest.mark.parametrize("form", ["binary", "large_binary", "struct"])
def test_bytes_inside_a_parquet_file_are_read_whatever_its_writer_did(tmp_path, compression, form):
    images = [b"one" * 1000, b"", bytes(range(256)) * 20, b"one" * 1000, b"four"]
    if form == "struct":
        column = pa.array([{"path": f"{i}.jpg", "bytes": image} for i, image in enumerate(images)])
    else:
        column = pa.array(images, getattr(pa, form)())
    pq.write_table(
        pa.table({"image": column, "label": range(5)}),
        tmp_path / "m.parquet",
        compression=compression,
        row_group_size=2,
    )
    data = datasets.load("manifest", root=tmp_path)
    assert contents(data) == images
    assert data.images.sizes().tolist() == [len(image) for image in images]


def test_bytes_are_copied_once_and_an_edited_file_is_never_mistaken(tmp_path, cache):
    parquet(tmp_path, [b"old1", b"old2"])
    first = datasets.load("manifest", root=tmp_path)
    files = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(files) == 2
    again = datasets.load("manifest", root=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == files
    assert again.fingerprint() == first.fingerprint()
    parquet(tmp_path, [b"new1", b"new2"])  # of the same sizes
    edited = datasets.load("manifest", root=tmp_path)
    assert contents(edited) == [b"new1", b"new2"]
    assert contents(first) == [b"old1", b"old2"]
    assert edited.fingerprint() != first.fingerprint()


def test_copying_that_is_killed_leaves_nothing_that_looks_complete(tmp_path, cache, monkeypatch):
    parquet(tmp_path, [b"one", b"two"])

    def killed(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embedded.np, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            datasets.load("manifest", root=tmp_path)
    assert list(cache.iterdir()) == []
    assert contents(datasets.load("manifest", root=tmp_path)) == [b"one", b"two"]


def test_a_damaged_copy_is_noticed(tmp_path, cache):
    parquet(tmp_path, [b"one", b"two"])
    datasets.load("manifest", root=tmp_path)
    next(cache.glob("*.images")).write_bytes(b"one")
    with pytest.raises(UserError, match="has 3 bytes, expected 6; it is damaged, delete it"):
        datasets.load("manifest", root=tmp_path)


def test_a_row_without_bytes_is_refused_by_number(tmp_path):
    parquet(tmp_path, [b"one", None, b"three"])
    with pytest.raises(UserError, match=r"row 2 has no bytes in column 'image'"):
        datasets.load("manifest", root=tmp_path)


def test_a_parquet_file_may_hold_paths(folder):
    pq.write_table(pa.table({"path": ["b.png", "a.png"], "label": ["x", "y"]}), folder / "m.parquet")
    assert contents(datasets.load("manifest", root=folder)) == [b"b.png", b"a.png"]


def test_class_names_that_hugging_face_wrote_are_used(tmp_path):
    features = {"label": {"names": ["cat", "dog", "owl"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    table = pa.table({"image": [b"1", b"2"], "label": [2, 0]})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "m.parquet")
    data = datasets.load("manifest", root=tmp_path)
    assert data.class_names == ("cat", "dog", "owl")
    assert data.labels.tolist() == [2, 0]
    pq.write_table(table.replace_schema_metadata({"huggingface": "{"}), tmp_path / "m.parquet")
    with pytest.raises(UserError, match=r"Hugging Face metadata cannot be read .*set option `classes`"):
        datasets.load("manifest", root=tmp_path)
    assert datasets.load("manifest", root=tmp_path, classes=3).num_classes == 3


def test_an_image_column_of_numbers_and_a_broken_file_are_refused(tmp_path):
    pq.write_table(pa.table({"image": [1.5], "label": [0]}), tmp_path / "m.parquet")
    with pytest.raises(UserError, match="column 'image' is double; an image column contains paths, bytes, or a struct"):
        datasets.load("manifest", root=tmp_path)
    (tmp_path / "m.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"m\.parquet: cannot be read as Parquet"):
        datasets.load("manifest", root=tmp_path)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": ["0", "", "1", ""]}, r"column 'label': 2 cells are empty, in rows 2, 4"),
        ({"label": ["0.5", "1", "0", "1"]}, r"column 'label': row 1 is '0\.5'; labels are whole numbers or texts"),
        ({"label": ["-1", "0", "0", "1"]}, "row 1 is -1, but the classes are 0 to 1"),
        ({"group": ["a", "", "b", "c"]}, "column 'group': 1 cells are empty, in rows 2"),
        (
            {"split": ["train", "test", "tset", "train"]},
            "unknown split in .*row 3: 'tset'; did you mean 'test'.*unseen",
        ),
        ({"split": ["test"] * 4}, "no row is train"),
        ({"path": ["a.png", "x.png", "y.png", "d.png"]}, "2 of 4 images are missing below .*: row 2 'x.png', row 3"),
        ({"path": ["a.png", "b.png", "./a.png", "d.png"]}, "rows 1 and 3 both name './a.png'"),
        ({"path": ["a.png", "/etc/b.png", "c", "d"]}, "row 2: '/etc/b.png' is outside root"),
        ({"path": ["../a.png", "b.png", "c", "d"]}, r"row 1: '\.\./a\.png' is outside root"),
        ({"path": ["a.png", "", "c", "d"]}, "row 2 has no image"),
    ],
)
def test_wrong_cells_are_refused_with_the_number_of_the_row(folder, columns, message):
    csv(folder, *rows(**columns))
    with pytest.raises(UserError, match=message):
        datasets.load("manifest", root=folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": "other.csv"}, r"other\.csv' is not a \.csv or \.parquet file"),
        ({"label": "lable"}, r"unknown column for option `label` .*'lable'; did you mean 'label'"),
        ({"group": "person"}, "unknown column for option `group`"),
        ({"label": "label", "labels": ["label"]}, "not both"),
        ({"labels": "label"}, r"labels is 'label'; set a list of distinct columns"),
        ({"labels": ["label", "label"]}, "set a list of distinct columns"),
        ({"labels": ["path"]}, "row 1 is 'a.png'; a multi-label target is 0 or 1"),
        ({"classes": 0}, "classes is 0; set the list of class names, or the number"),
        ({"classes": [1, 2]}, r"classes is \[1, 2\]"),
        ({"classes": 1}, "row 2 is 1, but the classes are 0 to 0"),
        ({"color": "x"}, "unknown option of dataset 'manifest'"),
    ],
)
def test_wrong_options_are_refused(folder, options, message):
    csv(folder, *rows())
    with pytest.raises(UserError, match=message):
        datasets.load("manifest", root=folder, **options)


def test_texts_need_names_not_a_number_of_classes(folder):
    csv(folder, *rows(label=["cat", "dog", "cat", "cow"]))
    with pytest.raises(UserError, match="`classes` should list their names; found 3"):
        datasets.load("manifest", root=folder, classes=3)
    with pytest.raises(UserError, match=r"unknown class in .*row 4: 'cow'"):
        datasets.load("manifest", root=folder, classes=["cat", "dog"])


def test_a_missing_column_and_a_choice_of_manifests_are_named(folder):
    csv(folder, "file,label", "a.png,0")
    with pytest.raises(
        UserError, match=r"no column 'image' or 'path'; name it with option `image` \(columns: file, label"
    ):
        datasets.load("manifest", root=folder)
    (folder / "n.csv").write_text("path,label\na.png,0\n")
    with pytest.raises(UserError, match=r"contains 2 \.csv and \.parquet files: m\.csv, n\.csv"):
        datasets.load("manifest", root=folder)
    assert datasets.load("manifest", root=folder, file="n.csv").num_samples == 1
    with pytest.raises(UserError, match=r"contains 0 \.csv and \.parquet files"):
        datasets.load("manifest", root=folder / "more")


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1))
def test_names_of_texts_lead_back_to_the_texts(values):
    values = [*values, "x"]  # texts that are all numbers are ids
    ids, names = manifest_columns.class_ids(values, where="here")
    assert [names[i] for i in ids] == values
    assert list(names) == sorted(set(values))


@given(st.lists(st.one_of(st.text(min_size=1), st.integers(-5, 5), st.floats(allow_nan=False)), min_size=1))
def test_groups_are_equal_where_their_cells_are(values):
    ids = manifest_columns.group_ids(values, where="here")
    for a, i in zip(values, ids):
        for b, j in zip(values, ids):
            assert (str(a) == str(b)) <= (i == j)


# -- the real sets -----------------------------------------------------------------------------------------------------


def test_lfw_has_gender_as_label_and_people_as_groups(shared_data):
    data = datasets.load("manifest", root=shared_data / "lfw", file="lfw_identity_gender.parquet", group="identity_id")
    assert data.num_samples == 988
    assert np.bincount(data.labels).tolist() == [347, 641]
    assert len(np.unique(data.groups)) == 72
    named = datasets.load("manifest", root=shared_data / "lfw", file="lfw_identity_gender.parquet", group="identity")
    np.testing.assert_array_equal(named.groups, data.groups)  # both are alphabetical
    assert decode(data.images.read(987), "x").shape == (250, 250, 3)


def test_caltech101_keeps_its_split_and_its_names(shared_data):
    data = datasets.load("manifest", root=shared_data / "caltech101")
    assert np.bincount(data.part).tolist() == [400, 200]
    assert np.bincount(data.labels[data.part == TEST]).tolist() == [10] * 20
    named = datasets.load("manifest", root=shared_data / "caltech101", label="class_name")
    np.testing.assert_array_equal(named.labels, data.labels)
    assert data.class_names in (named.class_names, tuple(str(i) for i in range(20)))


def test_pacs_and_cmu_faces_are_read(shared_data):
    pacs = datasets.load("manifest", root=shared_data / "pacs")
    assert np.bincount(pacs.labels).tolist() == [80] * 7
    faces = datasets.load(
        "manifest", root=shared_data / "cmu_faces", file="cmu_faces_identity_attributes.parquet", group="identity_id"
    )
    assert len(np.unique(faces.groups)) == 14
    for data in (pacs, faces):
        source = pq.read_table(next((shared_data / ("pacs" if data is pacs else "cmu_faces")).glob("*.parquet")))
        assert contents(data) == [row["bytes"] for row in source.column("image").to_pylist()]
    assert decode(faces.images.read(0), "x").shape == (120, 128, 3)
