import os
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest

from raybench import data as datasets
from raybench.data.files import safe_pickle
from raybench.data.formats.cifar10 import BATCHES, FOLDER
from raybench.data.images import channel_statistics
from raybench.errors import UserError


def batch(n=4, *, seed=0, keys=str):
    generator = np.random.default_rng(seed)
    content = {
        "batch_label": "a batch",
        "labels": generator.integers(0, 10, n).tolist(),
        "data": generator.integers(0, 256, (n, 3072), dtype=np.uint8),
        "filenames": [f"{i}.png" for i in range(n)],
    }
    return content if keys is str else {key.encode(): value for key, value in content.items()}


def write(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol=protocol))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / FOLDER
    folder.mkdir()
    for i, name in enumerate(BATCHES):
        write(folder / name, batch(3 + i, seed=i))
    return folder


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("keys", [str, bytes])
def test_batches_of_any_size_and_protocol_are_read_in_order(tmp_path, protocol, keys):
    for i, name in enumerate(BATCHES):
        write(tmp_path / name, batch(3 + i, seed=i, keys=keys), protocol)
    data = datasets.load("cifar10", root=tmp_path)
    assert data.labels.tolist() == [label for i in range(6) for label in batch(3 + i, seed=i)["labels"]]
    assert data.part.tolist() == [0] * 25 + [1] * 8
    row = batch(4, seed=1)["data"][2]
    for channel in range(3):
        plane = row[1024 * channel : 1024 * (channel + 1)].reshape(32, 32)
        np.testing.assert_array_equal(data.images[5, :, :, channel], plane)


def test_python_2_strings_as_in_the_official_files_are_read(tmp_path):
    # what Python 2 wrote: str as BINSTRING, numpy.core.multiarray by its old name
    pixels = np.arange(2 * 3072, dtype=np.int64).astype(np.uint8)
    raw = pixels.tobytes()
    binstring = lambda b: b"T" + len(b).to_bytes(4, "little") + b  # noqa: E731
    dtype = (
        b"cnumpy\ndtype\n"
        + binstring(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + binstring(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + binstring(b"b") + b"\x87R"
    array += b"(K\x01K\x02M\x00\x0c\x86" + dtype + b"\x89" + binstring(raw) + b"tb"
    content = b"\x80\x02}(" + binstring(b"labels") + b"](K\x01K\x09e" + binstring(b"data") + array + b"u."
    for name in BATCHES:
        (tmp_path / name).write_bytes(content)
    data = datasets.load("cifar10", root=tmp_path)
    assert data.labels.tolist() == [1, 9] * 6
    assert data.images[0, 0, :3, 0].tolist() == [0, 1, 2]


def test_root_may_be_the_folder_or_its_parent(folder):
    assert (
        datasets.load("cifar10", root=folder).fingerprint()
        == datasets.load("cifar10", root=folder.parent).fingerprint()
    )


class Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(folder, tmp_path, protocol):
    write(folder / "data_batch_2", batch() | {"filenames": Command(tmp_path / "executed")}, protocol)
    with pytest.raises(UserError, match=r"data_batch_2: refused because the pickle contains (posix|nt)\.mkdir"):
        datasets.load("cifar10", root=folder)
    assert not (tmp_path / "executed").exists()
    pickle.loads((folder / "data_batch_2").read_bytes())  # it would have
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "name", ["builtins eval", "numpy.core.multiarray _reconstruct.__globals__", "numpy load", "functools partial"]
)
def test_nothing_but_the_rebuilding_of_arrays_may_be_named(tmp_path, name):
    module, attribute = name.split()
    (tmp_path / "x").write_bytes(
        b"\x80\x04" + b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, attribute)) + b"\x93."
    )
    with pytest.raises(UserError, match=r"x: refused because the pickle contains"):
        safe_pickle.load(tmp_path / "x")


def test_a_pickle_cannot_change_what_a_later_one_uses(tmp_path):
    # GLOBAL encode, then BUILD with slot state {"__defaults__": ("utf8",)}
    (tmp_path / "x").write_bytes(
        b"\x80\x02c_codecs\nencode\nN}X\x0c\x00\x00\x00__defaults__X\x04\x00\x00\x00utf8\x85s\x86b."
    )
    with pytest.raises(UserError, match="state of a function"):
        safe_pickle.load(tmp_path / "x")
    (tmp_path / "y").write_bytes(b"\x80\x02c_codecs\nencode\n.")
    assert safe_pickle.load(tmp_path / "y").__defaults__ is None


def test_a_truncated_file_is_refused_at_any_length(folder):
    path = folder / "data_batch_3"
    whole = path.read_bytes()
    for length in [0, 1, 2, 10, 50, 100, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"data_batch_3: not a complete pickle .*truncated"):
            datasets.load("cifar10", root=folder)


def test_random_bytes_are_refused_with_the_file_named(folder):
    generator = np.random.default_rng(0)
    for _ in range(200):
        (folder / "test_batch").write_bytes(b"\x80\x04" + generator.bytes(int(generator.integers(1, 60))))
        with pytest.raises(UserError, match="test_batch: "):
            datasets.load("cifar10", root=folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([1, 2], "contains a list, expected a dict"),
        ({"labels": None}, r"labels are a NoneType, expected 4 whole numbers"),
        ({"labels": [1, 2, 3]}, "labels are a list of 3, expected 4"),
        ({"labels": [0.5] * 4}, "labels are a list of 4, expected 4 whole numbers"),
        ({"labels": [1, 2, 3, 10]}, "labels run from 1 to 10, expected 0 to 9"),
        ({"labels": [-1, 2, 3, 9]}, "labels run from -1 to 9"),
        ({"data": np.zeros((4, 3071), dtype=np.uint8)}, r"data is uint8 \(4, 3071\), expected uint8 \(n, 3072\)"),
        ({"data": np.zeros((4, 3072))}, r"data is float64 \(4, 3072\)"),
        ({"data": [[0] * 3072] * 4}, "data is a list of 4"),
        ({"data": np.zeros((0, 3072), dtype=np.uint8), "labels": []}, "contains no images"),
        ({"data": np.zeros((4, 32, 32, 3), dtype=np.uint8)}, r"data is uint8 \(4, 32, 32, 3\)"),
    ],
)
def test_wrong_content_is_refused_with_what_was_found_and_expected(folder, change, message):
    write(folder / "data_batch_4", batch() | change if isinstance(change, dict) else change)
    with pytest.raises(UserError, match=f"data_batch_4: {message}"):
        datasets.load("cifar10", root=folder)


def test_a_batch_without_labels_is_refused(folder):
    write(folder / "test_batch", {"data": batch()["data"]})
    with pytest.raises(UserError, match="test_batch: no key 'labels'"):
        datasets.load("cifar10", root=folder)


def test_missing_batches_are_named(folder):
    (folder / "data_batch_2").unlink()
    (folder / "test_batch").unlink()
    with pytest.raises(UserError, match="lacks data_batch_2, test_batch"):
        datasets.load("cifar10", root=folder.parent)


@pytest.fixture
def fake_torchvision(monkeypatch):
    """Replace the download: write the official folder, or fail halfway on request."""
    calls = []

    class CIFAR10:
        failure = None

        def __init__(self, root, *, download):
            calls.append(root)
            os.makedirs(os.path.join(root, FOLDER))
            for i, name in enumerate(BATCHES):
                with open(os.path.join(root, FOLDER, name), "wb") as file:
                    file.write(pickle.dumps(batch(3, seed=i), protocol=2))
                if self.failure and i == 2:
                    raise self.failure

    module = ModuleType("torchvision.datasets")
    module.CIFAR10 = CIFAR10
    package = ModuleType("torchvision")
    package.datasets = module
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    return CIFAR10, calls


def test_download_fetches_once_and_leaves_only_the_folder(tmp_path, fake_torchvision):
    root = tmp_path / "new"
    first = datasets.load("cifar10", root=root, download=True)
    assert [path.name for path in root.iterdir()] == [FOLDER]
    assert datasets.load("cifar10", root=root, download=True).fingerprint() == first.fingerprint()
    assert len(fake_torchvision[1]) == 1


@pytest.mark.parametrize("failure", [OSError("network is unreachable"), RuntimeError("Dataset corrupted")])
def test_a_failed_download_leaves_nothing_behind(tmp_path, fake_torchvision, failure):
    fake_torchvision[0].failure = failure
    with pytest.raises(UserError, match=f"cannot download {FOLDER} .*{failure}"):
        datasets.load("cifar10", root=tmp_path / "new", download=True)
    assert list((tmp_path / "new").iterdir()) == []


def test_download_never_overwrites_a_local_copy(folder, fake_torchvision):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    datasets.load("cifar10", root=folder.parent, download=True)
    (folder / "data_batch_1").unlink()
    with pytest.raises(UserError, match="exists but is incomplete"):
        datasets.load("cifar10", root=folder.parent, download=True)
    del before["data_batch_1"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert fake_torchvision[1] == []


def test_a_local_subset_of_the_real_images_is_not_refused_for_its_md5(shared_data):
    data = datasets.load("cifar10", root=shared_data / "cifar10")
    assert data.images.shape == (12_000, 32, 32, 3)
    assert np.bincount(data.labels[data.part == 0]).tolist() == [1000] * 10
    assert np.bincount(data.labels[data.part == 1]).tolist() == [200] * 10
    # a fifth of the training set: its pixel statistics are the official ones to a few thousandths
    mean, std = channel_statistics(data.images[data.part == 0])
    np.testing.assert_allclose(mean, data.mean, atol=3e-3)
    np.testing.assert_allclose(std, data.std, atol=3e-3)
