import gzip

import numpy as np
import pytest

from raybench import data as datasets
from raybench.data.formats.idx import FILES
from raybench.data.images import channel_statistics
from raybench.errors import UserError


def idx(array):
    """The idx format: 0, 0, 8 for unsigned bytes, the number of dimensions, sizes big-endian, then the bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def arrays(n_train=7, n_test=3):
    generator = np.random.default_rng(0)
    return [
        generator.integers(0, size, shape, dtype=np.uint8)
        for n in (n_train, n_test)
        for size, shape in ((256, (n, 6, 5)), (10, (n,)))
    ]


def write(folder, compressed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(FILES, arrays()):
        content = idx(array)
        (folder / (name + ".gz" if compressed else name)).write_bytes(gzip.compress(content) if compressed else content)
    return folder


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("place", ["", "raw", "named"])
def test_the_four_files_are_found_and_read(tmp_path, name, compressed, place):
    named = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}[name]
    write(tmp_path / (named if place == "named" else place), compressed)
    data = datasets.load(name, root=tmp_path)
    train_images, train_labels, test_images, test_labels = arrays()
    np.testing.assert_array_equal(data.images[..., 0], np.concatenate([train_images, test_images]))
    assert data.labels.tolist() == [*train_labels, *test_labels]
    assert data.part.tolist() == [0] * 7 + [1] * 3


def test_the_folder_of_the_other_dataset_is_not_taken_for_it(tmp_path):
    write(tmp_path / "FashionMNIST" / "raw")
    with pytest.raises(UserError, match="MNIST: no idx files in"):
        datasets.load("mnist", root=tmp_path)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_truncated_file_is_refused_at_any_length(tmp_path, compressed):
    write(tmp_path, compressed)
    path = tmp_path / (FILES[0] + ".gz" if compressed else FILES[0])
    whole = path.read_bytes()
    for length in [0, 1, 3, 5, 15, 17, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=FILES[0]):
            datasets.load("mnist", root=tmp_path)


@pytest.mark.parametrize(
    ("which", "content", "message"),
    [
        (0, idx(arrays()[1]), "starts with 00000801, expected the magic number 00000803"),
        (1, b"PNG\n" + bytes(20), "expected the magic number 00000801"),
        (0, idx(arrays()[0]) + b"x", r"the header gives \(7, 6, 5\) = 210 bytes, found more"),
        (0, idx(arrays()[0])[:-1], "= 210 bytes, found 209"),
        (1, idx(arrays()[1][:6]), "6 labels for 7 images"),
        (3, idx(np.array([0, 1, 10])), "label 10, expected 0 to 9"),
        (2, idx(np.zeros((3, 5, 6))), r"training images are \(6, 5\), test images \(5, 6\)"),
    ],
)
def test_wrong_content_is_refused_with_what_was_found_and_expected(tmp_path, which, content, message):
    write(tmp_path, compressed=False)
    (tmp_path / FILES[which]).write_bytes(content)
    with pytest.raises(UserError, match=message):
        datasets.load("mnist", root=tmp_path)


def test_a_file_that_is_not_gzip_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / f"{FILES[1]}.gz").write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match=f"{FILES[1]}.gz: cannot be read"):
        datasets.load("mnist", root=tmp_path)


def test_missing_files_are_named(tmp_path):
    write(tmp_path)
    (tmp_path / f"{FILES[2]}.gz").unlink()
    with pytest.raises(UserError, match=f"lacks {FILES[2]}"):
        datasets.load("fashion_mnist", root=tmp_path)


@pytest.mark.slow
def test_the_real_fashion_mnist_has_its_published_statistics(shared_data):
    data = datasets.load("fashion_mnist", root=shared_data)
    assert data.images.shape == (70_000, 28, 28, 1)
    assert np.bincount(data.labels[data.part == 0]).tolist() == [6000] * 10
    assert np.bincount(data.labels[data.part == 1]).tolist() == [1000] * 10
    mean, std = channel_statistics(data.images[data.part == 0])
    np.testing.assert_allclose((*mean, *std), (*data.mean, *data.std), atol=5e-5)
