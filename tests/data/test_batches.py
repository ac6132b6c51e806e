from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset

from raybench.data.reading import batches
from raybench.data.reading.batches import DatasetSplit, ResidentSplit, iterate
from raybench.data.transforms.augment import Augment, Windows, gather
from raybench.errors import UserError

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])


def one_by_one(images, draws, augment):
    """Crop and flip each image on its own, the slow obvious way."""
    out = []
    p = augment.padding
    mode = "reflect" if augment.border == "reflect" else "constant"
    for image, top, left, flip in zip(images, draws.top, draws.left, draws.flip):
        height, width = image.shape[:2]
        window = np.pad(image, ((p, p), (p, p), (0, 0)), mode=mode)[top : top + height, left : left + width]
        out.append(window[:, ::-1] if flip else window)
    return np.stack(out)


@settings(max_examples=30, deadline=None)
@given(
    names=st.sampled_from([["crop"], ["flip"], ["crop", "flip"], ["crop_reflect"], ["flip", "crop_reflect"]]),
    height=st.integers(5, 12),
    width=st.integers(5, 12),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_batched_augmentation_equals_cropping_and_flipping_image_by_image(names, height, width, channels, seed):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (9, height, width, channels), dtype=np.uint8)
    augment = Augment.parse(names)
    rows = generator.integers(0, 9, 20)
    draws = augment.draw(20, generator)
    expected = one_by_one(images[rows], draws, augment)
    np.testing.assert_array_equal(Windows(images, np.arange(9), augment).gather(rows, draws), expected)
    tensors = torch.from_numpy(images), torch.from_numpy(rows)
    np.testing.assert_array_equal(gather(*tensors, draws, augment).numpy(), expected)


def test_windows_of_many_images_are_built_in_pieces(monkeypatch, make_data):
    data, ids, augment = make_data(), np.arange(59, -1, -1), Augment.parse(["crop", "flip"])
    whole = Windows(data.images, ids, augment).windows
    monkeypatch.setattr("raybench.data.transforms.augment.CHUNK", 7)
    np.testing.assert_array_equal(Windows(data.images, ids, augment).windows, whole)


def test_every_offset_and_both_sides_are_drawn_equally_often():
    augment = Augment.parse(["crop", "flip"])
    draws = augment.draw(90_000, np.random.default_rng(0))
    for offsets in (draws.top, draws.left):
        # 10,000 each, standard deviation 94
        assert np.abs(np.bincount(offsets, minlength=9) - 10_000).max() < 5 * 94
    assert abs(draws.flip.mean() - 0.5) < 5 * 0.5 / 300


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("channels_last", [False, True])
def test_values_are_pixels_normalized_by_channel(make_data, device, channels_last):
    data = make_data()
    ids = np.array([41, 3, 17])
    split = ResidentSplit(data, ids, device=device, channels_last=channels_last)
    x, y = split.batch(np.array([2, 0]), generator=None)
    expected = (data.images[[17, 41]] / 255 - np.array(data.mean)) / np.array(data.std)
    np.testing.assert_allclose(x.cpu().numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)
    assert y.tolist() == data.labels[[17, 41]].tolist()
    assert (x.shape, x.dtype, y.dtype) == ((2, 3, 8, 8), torch.float32, torch.int64)
    assert x.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_the_same_draws_give_the_same_pixels_on_every_path(make_data, device, monkeypatch):
    data = make_data(size=12)
    positions = np.arange(29, -1, -1)

    def augmented(device):
        split = ResidentSplit(data, np.arange(0, 60, 2), device=device, augment=["crop", "flip"])
        x, _ = split.batch(positions, generator=np.random.default_rng(3))
        return split, x.cpu()

    fast_split, fast = augmented("cpu")
    assert fast_split.windows is not None
    draws = fast_split.augment.draw(30, np.random.default_rng(3))
    pixels = one_by_one(data.images[np.arange(0, 60, 2)[positions]], draws, fast_split.augment)
    expected = (pixels / 255 - np.array(data.mean)) / np.array(data.std)
    np.testing.assert_allclose(fast.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)

    monkeypatch.setattr(batches, "WINDOW_BYTES_LIMIT", 0)
    slow_split, slow = augmented(device)
    assert slow_split.windows is None
    torch.testing.assert_close(slow, fast, rtol=0, atol=0 if device == "cpu" else 1e-5)


def test_the_evaluation_view_is_deterministic_and_not_augmented(make_data):
    plain = ResidentSplit(make_data(), np.arange(60))
    split = ResidentSplit(make_data(), np.arange(60), augment=["crop", "flip"])
    positions = torch.arange(10)
    first, again = split.batch(positions, generator=None)[0], split.batch(positions, generator=None)[0]
    assert torch.equal(first, again)
    assert torch.equal(first, plain.batch(positions, generator=None)[0])
    assert not torch.equal(first, split.batch(positions, generator=np.random.default_rng(0))[0])


def test_one_channel_widens_to_three_equal_ones(make_data):
    data = make_data(channels=1)
    narrow = ResidentSplit(data, np.arange(5)).batch(np.arange(5), generator=None)[0]
    wide = ResidentSplit(data, np.arange(5), channels=3, channels_last=True).batch(np.arange(5), generator=None)[0]
    assert wide.is_contiguous(memory_format=torch.channels_last)
    for channel in range(3):
        assert torch.equal(wide[:, channel], narrow[:, 0])


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("side", [5, 20])
def test_resized_images_are_within_one_level_of_pillows(make_data, device, side):
    data = replace(make_data(size=12), mean=(0.0,) * 3, std=(1 / 255,) * 3)
    x, _ = ResidentSplit(data, np.arange(4), device=device, resize=side).batch(np.arange(4), generator=None)
    for i in range(4):
        pillow = np.asarray(Image.fromarray(data.images[i]).resize((side, side), Image.Resampling.BILINEAR))
        # the scale of 1 / 255 gives pixel levels back, to float32
        assert np.abs(x[i].permute(1, 2, 0).cpu().numpy() - pillow).max() <= 1.001


def test_crops_are_taken_from_the_resized_image(make_data):
    data = make_data()
    split = ResidentSplit(data, np.arange(60), resize=20, augment=["crop", "flip"])
    positions = np.arange(6)
    x, _ = split.batch(positions, generator=np.random.default_rng(0))
    draws = split.augment.draw(6, np.random.default_rng(0))
    plain, _ = split.batch(positions, generator=None)
    dark = torch.tensor(data.mean).div(torch.tensor(data.std)).neg()[None, :, None, None]
    shifted = one_by_one((plain - dark).permute(0, 2, 3, 1).numpy(), draws, split.augment)
    torch.testing.assert_close(x - dark, torch.from_numpy(shifted.transpose(0, 3, 1, 2).copy()), rtol=0, atol=1e-5)


def test_half_precision_is_the_rounded_float_batch(make_data):
    full = ResidentSplit(make_data(), np.arange(60)).batch(np.arange(9), generator=None)[0]
    half = ResidentSplit(make_data(), np.arange(60), dtype=torch.bfloat16).batch(np.arange(9), generator=None)[0]
    assert torch.equal(half, full.bfloat16())


def test_labels_of_a_multi_label_task_are_float_rows(make_data):
    labels = np.random.default_rng(0).integers(0, 2, (60, 3)).astype(np.uint8)
    split = ResidentSplit(replace(make_data(), labels=labels), np.array([7, 5]))
    _, y = split.batch(np.array([1]), generator=None)
    assert y.dtype == torch.float32
    assert y.tolist() == labels[[5]].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 1}, "channels is 1, but the images have 3"),
        ({"resize": 0}, "resize is 0"),
        ({"augment": ["crops"]}, "unknown augmentation 'crops'; did you mean 'crop'"),
        ({"augment": ["crop", "crop_reflect"]}, "not both"),
        ({"augment": ["crop_reflect"], "resize": 4}, "larger than 4 x 4 pixels"),
        ({"ids": np.array([60])}, "ids run from 60 to 60, but there are 60 samples"),
    ],
)
def test_impossible_views_are_refused(make_data, options, message):
    with pytest.raises(UserError, match=message):
        ResidentSplit(make_data(), **{"ids": np.arange(60)} | options)


class Noisy(Dataset):
    """Eight samples whose augmentation draws from torch's generator."""

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return torch.full((1, 2, 2), float(i)) + 0.1 * torch.rand(1, 2, 2), i % 3


def test_a_torch_dataset_gives_seeded_batches_and_leaves_torchs_stream_alone():
    split = DatasetSplit(Noisy())
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    positions = np.array([5, 2])
    first, y = split.batch(positions, generator=np.random.default_rng(0))
    same, _ = split.batch(positions, generator=np.random.default_rng(0))
    other, _ = split.batch(positions, generator=np.random.default_rng(1))
    view, again = split.batch(positions, generator=None)[0], split.batch(positions, generator=None)[0]
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(view, again)
    assert y.tolist() == [2, 2]
    assert first.floor()[:, 0, 0, 0].tolist() == [5.0, 2.0]
    assert split.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("make", [lambda data: ResidentSplit(data, np.arange(30)), lambda _: DatasetSplit(Noisy())])
def test_an_epoch_visits_every_sample_once(make, make_data):
    split = make(make_data())
    ys = [y for _, y in iterate(split, batch_size=7, seed=0, epoch=0)]
    assert sorted(torch.cat(ys).tolist()) == sorted(split.labels.tolist())
    assert len(list(iterate(split, batch_size=7, seed=0, epoch=0, drop_last=True))) == len(split) // 7
    in_order = torch.cat([y for _, y in iterate(split, batch_size=7, seed=0, epoch=0, shuffle=False)])
    assert torch.equal(in_order, split.labels)


def test_epochs_and_ranks_differ_in_order_and_augmentation_and_seeds_repeat(make_data):
    split = ResidentSplit(make_data(), np.arange(60), augment=["crop"])

    def epoch(**options):
        return torch.cat([x for x, _ in iterate(split, batch_size=16, **{"seed": 0, "epoch": 0, **options})])

    first = epoch(shuffle=False)
    assert torch.equal(first, epoch(shuffle=False))
    for other in (epoch(shuffle=False, seed=1), epoch(shuffle=False, epoch=1), epoch(shuffle=False, augment=False)):
        assert not torch.equal(first, other)
    shares = [epoch(rank=rank, world_size=2) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == 30


def test_a_batch_size_of_zero_is_refused(make_data):
    with pytest.raises(UserError, match="batch_size is 0"):
        next(iterate(ResidentSplit(make_data(), np.arange(60)), batch_size=0, seed=0, epoch=0))


def test_a_torch_dataset_is_cast_to_the_models_precision():
    positions = np.arange(3)
    full, _ = DatasetSplit(Noisy()).batch(positions, generator=None)
    half, y = DatasetSplit(Noisy(), dtype=torch.bfloat16).batch(positions, generator=None)
    assert torch.equal(half, full.bfloat16())
    assert y.dtype == torch.int64
