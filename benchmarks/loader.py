"""How fast batches of small images are made: ResidentSplit against the usual Dataset, PIL transforms and DataLoader.

    OMP_NUM_THREADS=1 python benchmarks/loader.py [--images 10000] [--rounds 7]

Both make normalised 32 x 32 x 3 batches of 256 in one process and one thread, the training view with a padded random
crop and a flip. Rounds alternate, CPU seconds are counted, and the median of the ratios is printed with its range:
on one core, at least 40 (training) and 50 (evaluation) are expected. Building the windows (once per split) is in the
warm-up and printed apart.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from raybench.data.augment import Windows
from raybench.data.batches import ResidentSplit, iterate
from raybench.data.images import ImageData

BATCH = 256


class Pictures(Dataset):
    """What torchvision's CIFAR10 does for each image."""

    def __init__(self, data: ImageData, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.data = data
        self.transform = transform

    def __len__(self) -> int:
        return self.data.num_samples

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.data.images[i])), int(self.data.labels[i])


def microseconds(work: Callable[[], int]) -> float:
    """Return CPU microseconds per image of `work`, which returns how many it made."""
    start = time.process_time()
    made = work()
    return (time.process_time() - start) / made * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    n = arguments.images
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
    usual = {
        "train": Pictures(
            data, transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *end])
        ),
        "evaluation": Pictures(data, transforms.Compose(end)),
    }
    split = ResidentSplit(data, np.arange(n), augment=["crop", "flip"], channels_last=True)
    start = time.process_time()
    split.batch(np.arange(BATCH), generator=generator)
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread, {n} images, batch {BATCH}"
    )
    print(
        f"windows built in {time.process_time() - start:.2f} s, "
        f"{Windows.size(data.images.shape, split.augment) / 2**20:.0f} MiB"
    )
    for view in ("train", "evaluation"):
        training = view == "train"
        loader = DataLoader(usual[view], batch_size=BATCH, shuffle=training)

        def ours(seed: int) -> int:
            made = 0
            for epoch in range(5):
                for x, _ in iterate(
                    split,
                    batch_size=BATCH,
                    seed=seed,
                    epoch=epoch,
                    shuffle=training,  # noqa: B023
                    augment=training,  # noqa: B023
                ):
                    made += len(x)
            return made

        pairs = []
        for turn in range(arguments.rounds + 1):
            slow = microseconds(lambda: sum(len(x) for x, _ in loader))  # noqa: B023
            pairs.append((slow, microseconds(lambda: ours(turn))))  # noqa: B023
        ratios = [slow / fast for slow, fast in pairs[1:]]
        slow, fast = (statistics.median(column) for column in zip(*pairs[1:]))
        print(
            f"{view:10}  usual {slow:6.2f} us/image   resident {fast:5.2f} us/image   "
            f"{statistics.median(ratios):5.1f}x ({min(ratios):.1f} to {max(ratios):.1f}, {len(ratios)} rounds)"
        )


if __name__ == "__main__":
    main()
