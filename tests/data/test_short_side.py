import pickle
from dataclasses import replace

import numpy as np
import pytest
from pictures import encode, picture, write_files
from PIL import Image

from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, LEFT_OUT, ImageData
from raybench.data.reading.decode_image import CorruptImage, decode
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.short_side import ShortSide, cache
from raybench.data.transforms.views import View
from raybench.errors import UserError

SIZES = [(60, 80), (80, 61), (40, 33), (32, 32), (20, 90), (200, 35)]
CONTENTS = {f"{i}.png": encode(picture(*size, seed=i), "PNG") for i, size in enumerate(SIZES)}


@pytest.fixture
def data(tmp_path):
    names = write_files(tmp_path, CONTENTS)
    return ImageData(
        images=Encoded.of_files(tmp_path, names),
        labels=np.zeros(len(names), dtype=np.int64),
        part=np.zeros(len(names), dtype=np.uint8),
        class_names=("a",),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def test_images_are_scaled_as_pillow_does_and_small_ones_stay(data, tmp_path):
    short = cache(data, tmp_path / "cache", short_side=32)
    expected_sizes = [(32, 42), (41, 32), (38, 32), (32, 32), (20, 90), (182, 32)]
    for i, (height, width) in enumerate(expected_sizes):
        image = Image.fromarray(picture(*SIZES[i], seed=i))
        if min(SIZES[i]) > 32:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        assert short.image(i).shape == (height, width, 3)
        assert np.abs(short.image(i).astype(int) - np.asarray(image)).max() <= 1
    assert len(short) == 6
    assert short.shrunk


def test_the_order_of_threads_does_not_show(data, tmp_path, monkeypatch):
    monkeypatch.setattr("raybench.data.reading.short_side.CHUNK", 2)
    one, four = (cache(data, tmp_path / str(n), short_side=32, workers=n) for n in (1, 4))
    np.testing.assert_array_equal(one.pixels, four.pixels)
    np.testing.assert_array_equal(one.index, four.index)


@pytest.mark.parametrize("view", [View(size=28, resize=32), View(size=32), View(size=5, resize=32)])
def test_a_view_that_scales_to_the_same_side_is_exact(data, tmp_path, view):
    short = cache(data, tmp_path / "cache", short_side=32)
    assert short.is_exact_for(view)
    for i, content in enumerate(CONTENTS.values()):
        np.testing.assert_array_equal(view.apply(short.image(i)), view.apply(decode(content, "x")))


def test_other_views_are_exact_only_where_nothing_was_scaled(data, tmp_path):
    others = [View(size=24), View(size=32, fit="squash"), View(size=28, resize=32, fit="squash_crop")]
    small, large = cache(data, tmp_path / "32", short_side=32), cache(data, tmp_path / "99", short_side=99)
    assert not any(small.is_exact_for(view) for view in others)
    assert all(large.is_exact_for(view) for view in others)
    assert not large.shrunk


def test_a_cache_travels_as_the_name_of_its_folder(data, tmp_path):
    short = cache(data, tmp_path / "cache", short_side=32)
    short.image(0)
    sent = pickle.dumps(short)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).image(3), short.image(3))


def test_a_cache_is_written_once_and_only_for_the_same_images(data, tmp_path, monkeypatch):
    cache(data, tmp_path / "cache", short_side=32)
    with monkeypatch.context() as patch:
        patch.setattr("raybench.data.reading.short_side.decode", lambda *_: pytest.fail("decoded again"))
        assert len(cache(data, tmp_path / "cache", short_side=32)) == 6
    with pytest.raises(UserError, match=r"caches other images, or another short side \(32\)"):
        cache(data, tmp_path / "cache", short_side=31)
    part = data.part.copy()
    part[1] = LEFT_OUT
    with pytest.raises(UserError, match="caches other images"):
        cache(replace(data, part=part), tmp_path / "cache", short_side=32)


def test_samples_that_are_left_out_are_not_read(data, tmp_path):
    (tmp_path / "1.png").write_bytes(b"")
    part = data.part.copy()
    part[1] = LEFT_OUT
    short = cache(replace(data, part=part), tmp_path / "cache", short_side=32)
    assert short.image(1).shape == (0, 0, 3)
    np.testing.assert_array_equal(short.image(3), picture(*SIZES[3], seed=3))


def test_a_cache_appears_whole_or_not_at_all(data, tmp_path):
    (tmp_path / "4.png").write_bytes(CONTENTS["4.png"][:500])
    with pytest.raises(CorruptImage, match=r"4\.png: "):
        cache(data, tmp_path / "caches" / "new", short_side=32)
    assert list((tmp_path / "caches").iterdir()) == []


@pytest.mark.parametrize("content", [None, "{}", '{"format": 99, "short_side": 1, "fingerprint": "", "shrunk": true}'])
def test_a_folder_that_is_no_cache_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "meta.json").write_text(content)
    with pytest.raises(UserError, match=r"not a cache of images|not format 1 of a cache"):
        ShortSide(tmp_path)
