import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import encode, oriented, picture, write_files
from PIL import Image

from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, ImageData
from raybench.data.reading import stream
from raybench.data.reading.ahead import ReadsAhead, read
from raybench.data.reading.batches import ResidentSplit, iterate
from raybench.data.reading.decode_dataset import decode_all
from raybench.data.reading.decode_image import CorruptImage, decode
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.short_side import cache
from raybench.data.reading.stream import StreamedSplit
from raybench.data.transforms.resized_crop import box
from raybench.data.transforms.views import View
from raybench.errors import UserError

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])
VIEW = View(size=24, resize=28)
CONTENTS = {f"{i}.jpg": encode(picture(36 + i, 50 - i, seed=i), "JPEG") for i in range(14)}
CONTENTS |= {"gray.png": encode(picture()[..., 0], "PNG"), "turned.jpg": oriented(picture(), "JPEG", 6)}
N = len(CONTENTS)
IDS = np.random.default_rng(0).permutation(N)[:12]
CROP = ["random_resized_crop", "flip"]


def make_set(folder):
    return ImageData(
        images=Encoded.of_files(folder, write_files(folder, CONTENTS)),
        labels=np.arange(N) % 3,
        part=np.zeros(N, dtype=np.uint8),
        class_names=("a", "b", "c"),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


@pytest.fixture
def data(tmp_path):
    return make_set(tmp_path)


def same(first, second):
    return torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_evaluation_view_is_that_of_the_decoded_set(data, device, channels_last):
    options = {"device": device, "channels_last": channels_last}
    streamed = StreamedSplit(data, IDS, VIEW, augment=CROP, **options)
    resident = ResidentSplit(decode_all(data, VIEW)[0], IDS, **options)
    positions = np.array([4, 0, 11, 4])
    assert same(streamed.batch(positions, generator=None), resident.batch(torch.from_numpy(positions), generator=None))
    x, _ = streamed.batch(positions, generator=None)
    assert x.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    assert torch.equal(streamed.labels, resident.labels)
    assert streamed.ids.tolist() == resident.ids.tolist()
    assert len(streamed) == 12


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize(
    "augment",
    [["crop", "flip"], ["crop_reflect"], ["flip", "affine", "jitter"], ["flip", "grayscale", "autoaugment"]],
)
def test_augmented_views_are_those_of_the_decoded_set(data, device, augment):
    streamed = StreamedSplit(data, IDS, VIEW, augment=augment, device=device)
    resident = ResidentSplit(decode_all(data, VIEW)[0], IDS, augment=augment, device=device)
    first, second = (s.batch(np.arange(12), generator=np.random.default_rng(3)) for s in (streamed, resident))
    assert same(first, second)
    assert not torch.equal(first[0], streamed.batch(np.arange(12), generator=None)[0])


def test_a_random_resized_crop_is_cut_out_of_the_whole_image_and_scaled_once(data):
    plain = replace(data, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    split = StreamedSplit(plain, IDS, VIEW, augment=CROP)
    x, _ = split.batch(np.arange(12), generator=np.random.default_rng(5))
    draws = split.augment.draw(12, np.random.default_rng(5))
    contents = list(CONTENTS.values())
    for k, i in enumerate(IDS):
        image = Image.fromarray(decode(contents[i], "x"))
        top, left, height, width = box(draws.crop_uniforms[k], image.height, image.width)
        part = image.crop((left, top, left + width, top + height)).resize((24, 24), Image.Resampling.BILINEAR)
        expected = np.asarray(part)[:, ::-1] if draws.flip[k] else np.asarray(part)
        assert np.abs(x[k].permute(1, 2, 0).numpy() - expected).max() <= 1.001


@pytest.mark.parametrize("generator", [None, 7])
@pytest.mark.parametrize("augment", [CROP, ["crop", "flip", "jitter"]])
def test_batches_do_not_depend_on_threads_or_on_reading_ahead(data, monkeypatch, augment, generator):
    def seeded():
        return None if generator is None else np.random.default_rng(generator)

    orders = [np.array([3, 1, 5, 0, 2]), np.array([], dtype=np.int64), np.array([7, 11]), np.array([3])]
    alone = StreamedSplit(data, IDS, VIEW, augment=augment, workers=1)
    common = seeded()
    expected = [alone.batch(order, generator=common) for order in orders]
    slow = iter([0.05, 0, 0.03] + [0] * 99)
    monkeypatch.setattr(stream, "decode", lambda *given: (time.sleep(next(slow)), decode(*given))[1])
    for workers in (1, 3):
        split = StreamedSplit(data, IDS, VIEW, augment=augment, workers=workers)
        made = list(read(split, orders, generator=seeded()))
        assert len(made) == len(expected)
        assert all(same(a, b) for a, b in zip(made, expected))


def test_an_epoch_reads_ahead_and_is_the_same_as_batch_by_batch(data):
    class Plain:
        """The same split without its `start`."""

        def __init__(self, split):
            self.batch, self.draw, self.ids, self.labels = split.batch, split.draw, split.ids, split.labels

        def __len__(self):
            return len(self.ids)

    split = StreamedSplit(data, IDS, VIEW, augment=CROP, workers=3)
    assert isinstance(split, ReadsAhead)
    assert not isinstance(Plain(split), ReadsAhead)
    ahead, plain = (list(iterate(s, batch_size=5, seed=1, epoch=2)) for s in (split, Plain(split)))
    assert len(ahead) == 3
    assert all(same(a, b) for a, b in zip(ahead, plain))


def test_only_the_next_batch_is_begun_while_one_is_used(data, monkeypatch):
    split = StreamedSplit(data, IDS, VIEW, workers=2)
    started = []
    original = split.start
    monkeypatch.setattr(split, "start", lambda order, **rest: (started.append(order), original(order, **rest))[1])
    batches = read(split, [np.array([i]) for i in range(6)], generator=None)
    next(batches)
    assert len(started) == 2
    next(batches)
    assert len(started) == 3
    batches.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_image_that_turns_out_corrupt_is_named(data, tmp_path, workers):
    split = StreamedSplit(data, np.arange(N), VIEW, workers=workers)
    (tmp_path / "5.jpg").write_bytes(CONTENTS["5.jpg"][:300])
    split.batch(np.array([4, 6]), generator=None)
    with pytest.raises(CorruptImage, match=rf"^{tmp_path}/5\.jpg: "):
        split.batch(np.array([4, 5, 6]), generator=None)


def test_a_split_can_be_sent_to_another_process(data, tmp_path):
    split = StreamedSplit(
        data, IDS, VIEW, augment=CROP, short_side_cache=cache(data, tmp_path / "c", short_side=28), workers=2
    )
    first = split.batch(np.arange(4), generator=np.random.default_rng(0))
    copy = pickle.loads(pickle.dumps(split))
    assert same(copy.batch(np.arange(4), generator=np.random.default_rng(0)), first)


def test_training_reads_the_cache_and_evaluation_only_where_it_is_exact(data, tmp_path, monkeypatch):
    whole = StreamedSplit(data, IDS, VIEW, augment=CROP)
    same_side, other_side = (cache(data, tmp_path / str(side), short_side=side) for side in (28, 30))
    exact = StreamedSplit(data, IDS, VIEW, augment=CROP, short_side_cache=same_side)
    near = StreamedSplit(data, IDS, VIEW, augment=CROP, short_side_cache=other_side)
    expected = whole.batch(np.arange(12), generator=None)
    assert same(near.batch(np.arange(12), generator=None), expected)
    coarse = near.batch(np.arange(12), generator=np.random.default_rng(0))
    monkeypatch.setattr(stream, "decode", lambda *_: pytest.fail("decoded"))
    assert same(exact.batch(np.arange(12), generator=None), expected)
    assert same(near.batch(np.arange(12), generator=np.random.default_rng(0)), coarse)
    with pytest.raises(pytest.fail.Exception):
        near.batch(np.arange(12), generator=None)


def test_a_split_says_whether_training_sees_other_pixels_than_without_the_cache(data, tmp_path):
    small, side, large = (cache(data, tmp_path / str(side), short_side=side) for side in (20, 28, 99))

    def exact(cached, augment):
        return StreamedSplit(data, IDS, VIEW, augment=augment, short_side_cache=cached).exact

    assert exact(None, CROP)
    assert exact(large, CROP)
    assert not exact(side, CROP)
    assert not exact(small, CROP)
    assert exact(side, ["flip"])
    assert not exact(small, ["flip"])


def test_half_precision_and_labels_of_several_tasks(data):
    labels = np.random.default_rng(0).integers(0, 2, (N, 3)).astype(np.uint8)
    split = StreamedSplit(replace(data, labels=labels), IDS, VIEW, dtype=torch.bfloat16)
    x, y = split.batch(np.array([2, 0]), generator=None)
    full, _ = StreamedSplit(data, IDS, VIEW).batch(np.array([2, 0]), generator=None)
    assert torch.equal(x, full.bfloat16())
    assert y.dtype == torch.float32
    assert y.tolist() == labels[IDS[[2, 0]]].tolist()


def test_impossible_splits_are_refused(data, make_data, tmp_path):
    with pytest.raises(UserError, match="there is nothing to decode"):
        StreamedSplit(make_data(), IDS, VIEW)
    with pytest.raises(UserError, match=f"ids run from 0 to {N}, but there are {N} samples"):
        StreamedSplit(data, np.array([0, N]), VIEW)
    with pytest.raises(UserError, match="crop_reflect needs images larger than 4 x 4 pixels"):
        StreamedSplit(data, IDS, View(size=4), augment=["crop_reflect"])
    with pytest.raises(UserError, match="unknown augmentation 'random_crop'"):
        StreamedSplit(data, IDS, VIEW, augment=["random_crop"])
    one = np.zeros(1, dtype=np.int64)
    fewer = replace(data, images=Encoded.of_files(tmp_path, ["0.jpg"]), labels=one, part=one.astype(np.uint8))
    with pytest.raises(UserError, match=f"caches 1 images, but there are {N} samples"):
        StreamedSplit(data, IDS, VIEW, short_side_cache=cache(fewer, tmp_path / "c", short_side=28))
