"""Time batches: raybench's splits against the usual Dataset, torchvision transforms and DataLoader.

    OMP_NUM_THREADS=1 python benchmarks/loader.py [--only small|photographs] [--images 10000] [--files 256] [--rounds 7]

Everything runs in one process and one thread. Rounds alternate between the sides, CPU seconds are counted, and the
median of the ratios is printed with its range. --short takes a few images and one round. Expected on one core:

- small, normalized 32 x 32 x 3 batches of 256, the training view with a padded random crop and a flip: at least 40
  (training) and 50 (evaluation). Building the windows (once per split) is in the warm-up and printed separately.
- photographs, JPEG of 500 x 375 at quality 90 (synthetic textures) to normalized 224 x 224 x 3 batches of 64, the
  training view a random resized crop and a flip: at least 1.5 decoded each time, 6 from raw pixels with a short side
  of 256 (the same filter on a coarser source). The evaluation view is decoded once, and exact.
"""

import argparse
import io
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, ImageData
from raybench.data.reading.batches import ResidentSplit, Split, iterate
from raybench.data.reading.decode_dataset import decode_all
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.short_side import cache
from raybench.data.reading.stream import StreamedSplit
from raybench.data.transforms.augment import Windows
from raybench.data.transforms.views import View

SMALL_BATCH, LARGE_BATCH = 256, 64
VIEW = View(size=224, resize=256)


class Pictures(Dataset):
    """Open and transform each image, as torchvision's datasets do."""

    def __init__(self, n: int, opener: Callable[[int], Image.Image], transform: Callable) -> None:
        self.n = n
        self.opener = opener
        self.transform = transform

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.opener(i)), i % 10


def microseconds(work: Callable[[], Iterable]) -> float:
    """Return CPU microseconds per image of an epoch of batches."""
    start = time.process_time()
    images = sum(len(x) for x, _ in work())
    return (time.process_time() - start) / images * 1e6


def compare(title: str, usual: Callable[[], Iterable], ours: dict[str, Callable[[], Iterable]], rounds: int) -> None:
    """Time each side in turn after one warm-up round, and print the ratios."""
    times: dict[str, list[float]] = {name: [] for name in ("usual", *ours)}
    for _ in range(rounds + 1):
        for name, work in {"usual": usual, **ours}.items():
            times[name].append(microseconds(work))
    slow = times.pop("usual")[1:]
    for name, fast in times.items():
        ratios = [a / b for a, b in zip(slow, fast[1:])]
        print(
            f"{title:10}  usual {statistics.median(slow):7.2f} us/image   {name} {statistics.median(fast[1:]):6.2f} "
            f"us/image   {statistics.median(ratios):5.1f}x ({min(ratios):.1f} to {max(ratios):.1f}, {rounds} rounds)"
        )


def epochs(split: Split, batch: int, *, training: bool, n: int) -> Callable[[], Iterable]:
    """Return a function that yields the batches of `n` epochs."""
    return lambda: (
        pair
        for epoch in range(n)
        for pair in iterate(split, batch_size=batch, seed=0, epoch=epoch, shuffle=training, augment=training)
    )


def small(n: int, rounds: int) -> None:
    """Compare on images of CIFAR's size."""
    generator = np.random.default_rng(0)
    data = ImageData(
        images=generator.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8),
        labels=generator.integers(0, 10, n),
        part=np.zeros(n, dtype=np.uint8),
        class_names=tuple("0123456789"),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    )
    end = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
    start = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    split = ResidentSplit(data, np.arange(n), augment=["crop", "flip"], channels_last=True)
    before = time.process_time()
    split.batch(np.arange(SMALL_BATCH), generator=generator)
    size = Windows.size(data.pixels.shape, split.augment) / 2**20
    print(f"{n} images of 32 x 32, batch {SMALL_BATCH}")
    print(f"windows built in {time.process_time() - before:.2f} s, {size:.0f} MiB")
    for training in (True, False):
        chain = transforms.Compose([*start, *end] if training else end)
        pictures = Pictures(n, lambda i: Image.fromarray(data.pixels[i]), chain)
        loader = DataLoader(pictures, batch_size=SMALL_BATCH, shuffle=training)
        ours = {"resident": epochs(split, SMALL_BATCH, training=training, n=5)}
        compare("train" if training else "evaluation", lambda: loader, ours, rounds)  # noqa: B023


def texture(generator: np.random.Generator, width: int = 500, height: int = 375) -> bytes:
    """Return a JPEG of noise in octaves, finer ones fainter, with grain: it compresses like a photograph."""
    pixels = np.zeros((height, width, 3), dtype=np.float32)
    for octave in range(2, 9):
        noise = generator.integers(0, 256, (2**octave, 2**octave, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        pixels += (np.asarray(layer, dtype=np.float32) - 128) * 0.75 ** (octave - 2)
    pixels += 128 + generator.normal(0, 6, pixels.shape)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def opened(path: str) -> Image.Image:
    """Open an image as torchvision's default loader does."""
    with open(path, "rb") as file:
        return Image.open(file).convert("RGB")


def photographs(n: int, rounds: int, folder: Path) -> None:
    """Compare on encoded images of 500 x 375."""
    generator = np.random.default_rng(0)
    names = [f"{i:05}.jpg" for i in range(n)]
    sizes = [(folder / name).write_bytes(texture(generator)) for name in names]
    data = ImageData(
        images=Encoded.of_files(folder, names),
        labels=np.arange(n) % 10,
        part=np.zeros(n, dtype=np.uint8),
        class_names=tuple("0123456789"),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    print(f"{n} JPEG of 500 x 375, {np.mean(sizes) / 1e3:.0f} kB, to {VIEW.size} x {VIEW.size}, batch {LARGE_BATCH}")
    start = time.process_time()
    small = cache(data, folder / "cache", short_side=256, workers=1)
    print(
        f"short side 256: {(time.process_time() - start) / n * 1e6:.0f} us/image, {len(small.pixels) / n / 1e3:.0f} kB"
    )
    end = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
    chains = {
        True: [transforms.RandomResizedCrop(VIEW.size), transforms.RandomHorizontalFlip(), *end],
        False: [transforms.Resize(VIEW.resize), transforms.CenterCrop(VIEW.size), *end],
    }
    augment = ["random_resized_crop", "flip"]
    options = {"augment": augment, "channels_last": True, "workers": 1}
    streamed = StreamedSplit(data, np.arange(n), VIEW, **options)
    short = StreamedSplit(data, np.arange(n), VIEW, short_side_cache=small, **options)
    view, _ = decode_all(data, VIEW, workers=1)
    resident = ResidentSplit(view, np.arange(n), channels_last=True)
    ours = {
        True: {"decoded": (streamed, 1), "short side 256": (short, 3)},
        False: {"decoded": (streamed, 1), "view decoded once": (resident, 5)},
    }
    for training in (True, False):
        pictures = Pictures(n, lambda i: opened(str(folder / names[i])), transforms.Compose(chains[training]))
        loader = DataLoader(pictures, batch_size=LARGE_BATCH, shuffle=training)
        works = {
            name: epochs(split, LARGE_BATCH, training=training, n=repeats)
            for name, (split, repeats) in ours[training].items()
        }
        compare("train" if training else "evaluation", lambda: loader, works, rounds)  # noqa: B023


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("small", "photographs"))
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--short", action="store_true", help="a few images and one round")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.images, arguments.files, arguments.rounds = 512, 8, 1
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread")
    if arguments.only != "photographs":
        small(arguments.images, arguments.rounds)
    if arguments.only != "small":
        with tempfile.TemporaryDirectory() as folder:
            photographs(arguments.files, arguments.rounds, Path(folder))


if __name__ == "__main__":
    main()
