import os
from dataclasses import replace

import numpy as np
import pytest
from pictures import encode, oriented, picture, write_files

from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, LEFT_OUT, TEST, TRAIN, ImageData
from raybench.data.reading import decode_dataset
from raybench.data.reading.decode_dataset import available_cpus, check_all, decode_all
from raybench.data.reading.decode_image import CorruptImage, decode
from raybench.data.reading.encoded import Encoded
from raybench.data.transforms.views import View
from raybench.errors import UserError

VIEW = View(size=24, resize=28)
SOUND = {f"sound/{i}.jpg": encode(picture(40 + i, 50, seed=i), "JPEG") for i in range(20)}
SOUND |= {"gray.png": encode(picture()[..., 0], "PNG"), "turned.jpg": oriented(picture(), "JPEG", 6)}
CORRUPT = {
    "bad/empty.jpg": b"",
    "bad/half.jpg": SOUND["sound/3.jpg"][:400],
    "bad/text.jpg": b"<html>not found</html>",
    "bad/half.png": SOUND["gray.png"][:300],
}


def make_set(folder, contents):
    names = write_files(folder, contents)
    n = len(names)
    return ImageData(
        images=Encoded.of_files(folder, names),
        labels=np.arange(n) % 3,
        part=np.where(np.arange(n) % 4 == 3, TEST, TRAIN).astype(np.uint8),
        class_names=("a", "b", "c"),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


@pytest.mark.parametrize("workers", [1, 4])
def test_a_whole_set_becomes_the_array_of_its_views(tmp_path, workers):
    data = make_set(tmp_path, SOUND)
    done = []
    decoded, skipped = decode_all(data, VIEW, workers=workers, progress=done.append)
    expected = np.stack([VIEW.apply(decode(content, name)) for name, content in SOUND.items()])
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert (skipped, sum(done)) == ([], len(SOUND))
    assert decoded.labels is data.labels
    assert decoded.part is data.part


def test_a_set_can_be_decoded_into_a_memory_map(tmp_path):
    data = make_set(tmp_path, SOUND)
    file = np.memmap(tmp_path / "out", dtype=np.uint8, mode="w+", shape=(len(SOUND), 24, 24, 3))
    decoded, _ = decode_all(data, VIEW, out=file)
    assert decoded.images is file
    np.testing.assert_array_equal(file, decode_all(data, VIEW)[0].pixels)
    with pytest.raises(UserError, match=r"out should be uint8 \(22, 24, 24, 3\) for this view, found uint8 \(2, 3\)"):
        decode_all(data, VIEW, out=np.zeros((2, 3), dtype=np.uint8))


@pytest.mark.parametrize("work", [lambda data, **o: decode_all(data, VIEW, **o), check_all])
def test_all_corrupt_files_are_named_at_once(tmp_path, work):
    many = {f"bad/{i}.jpg": b"" for i in range(6)}
    with pytest.raises(UserError) as found:
        work(make_set(tmp_path, SOUND | CORRUPT | many), workers=2)
    text = str(found.value)
    assert text.startswith("10 of 32 images are corrupt; repair them, or exclude them with data.on_corrupt: skip:\n")
    for name in [*CORRUPT, "bad/0.jpg"]:
        assert f"{tmp_path}/{name}: " in text
    assert "bad/1.jpg" not in text
    assert text.endswith("and 5 more")


@pytest.mark.parametrize("work", [lambda data, **o: decode_all(data, VIEW, **o), check_all])
def test_corrupt_samples_are_left_out_and_listed(tmp_path, work):
    data = make_set(tmp_path, CORRUPT | SOUND)
    left, skipped = work(data, on_corrupt="skip")
    assert [line.split(": ")[0] for line in skipped] == [f"{tmp_path}/{name}" for name in CORRUPT]
    assert left.part.tolist() == [LEFT_OUT] * 4 + data.part[4:].tolist()
    assert data.part[0] == TRAIN
    assert left.num_samples == data.num_samples
    if not isinstance(left.images, Encoded):
        assert left.images[:4].max() == 0
        np.testing.assert_array_equal(left.images[4:], decode_all(make_set(tmp_path, SOUND), VIEW)[0].pixels)


@pytest.mark.parametrize("work", [lambda data, **o: decode_all(data, VIEW, **o), check_all])
def test_what_is_left_out_already_is_not_read(tmp_path, work):
    data = make_set(tmp_path, CORRUPT | SOUND)
    part = data.part.copy()
    part[:4] = LEFT_OUT
    (tmp_path / "bad/empty.jpg").unlink()
    left, skipped = work(replace(data, part=part))
    assert skipped == []
    assert left.part.tolist() == part.tolist()


@pytest.mark.parametrize("work", [lambda data, **o: decode_all(data, VIEW, **o), check_all])
def test_a_missing_file_is_refused_even_where_corrupt_ones_are_skipped(tmp_path, work):
    data = make_set(tmp_path, SOUND | CORRUPT)
    (tmp_path / "sound/7.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 26 images cannot be read:\n  .*sound/7\.jpg: cannot be read: No such"):
        work(data, on_corrupt="skip")


def test_a_fault_that_is_not_the_images_stops_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(decode_dataset, "decode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decode_all(make_set(tmp_path, SOUND), VIEW)


def test_an_array_has_nothing_to_decode(make_data):
    with pytest.raises(UserError, match=r"images are already an array of shape \(60, 8, 8, 3\)"):
        decode_all(make_data(), VIEW)


def test_threads_are_as_many_as_the_processors_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 7}, raising=False)
    assert available_cpus() == 3


def test_corrupt_is_a_users_error():
    assert issubclass(CorruptImage, UserError)
