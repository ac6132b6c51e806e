"""The folder of docs/bring-your-own.md: images, a manifest, a trained checkpoint and ids to forget, as a user has them.

    python -m raybench.example bring_your_own

The images are scikit-learn's handwritten digits, a tenth of them labeled wrongly, as human annotators do; nothing is
downloaded. The checkpoint is of a small network that was trained on the rows called train, those to forget among them.
"""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from raybench import data, models
from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, TEST, TRAIN, ImageData
from raybench.data.mislabel import mislabel
from raybench.data.reading.batches import ResidentSplit
from raybench.engine.training import Recipe, train
from raybench.errors import UserError

NUM_TRAIN, NUM_FORGET = 600, 120
RECIPE = Recipe(epochs=40, lr=0.1, batch_size=64, weight_decay=5e-4)


def write_example(folder: Path, *, recipe: Recipe = RECIPE, width: int = 16, seed: int = 0) -> None:
    """Write images/, manifest.csv, model.pt and forget.txt into `folder`, which must be new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{str(folder)!r} is not an empty folder; name another one for the example")
    images, _ = mislabel(data.load("digits"), 0.1, seed)
    generator = np.random.default_rng(seed)
    trained_on = np.sort(generator.permutation(images.num_samples)[:NUM_TRAIN])
    forgotten = np.sort(generator.choice(trained_on, NUM_FORGET, replace=False))
    (folder / "images").mkdir(parents=True)
    _write_manifest(folder, images, trained_on)
    (folder / "forget.txt").write_text("".join(f"{i}\n" for i in forgotten), encoding="ascii")
    model = models.build("cnn", num_classes=images.num_classes, width=width, seed=seed)
    train(model, ResidentSplit(_as_read(images), trained_on), recipe, seed=seed)
    (folder / "model.pt").write_bytes(models.to_bytes(model))


def _write_manifest(folder: Path, images: ImageData, trained_on: np.ndarray) -> None:
    part = np.full(images.num_samples, TEST)
    part[trained_on] = TRAIN
    with (folder / "manifest.csv").open("w", newline="", encoding="ascii") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split"])
        for i, (pixels, label) in enumerate(zip(images.pixels, images.labels)):
            name = f"images/{i:04}.png"
            Image.fromarray(pixels[..., 0]).save(folder / name)
            rows.writerow([name, images.class_names[label], "train" if part[i] == TRAIN else "test"])


def _as_read(images: ImageData) -> ImageData:
    """Return the images as the manifest gives them: three channels, normalized as photographs are."""
    return replace(images, images=np.repeat(images.pixels, 3, axis=3), mean=IMAGENET_MEAN, std=IMAGENET_STD)


def main(folder: str = "bring_your_own") -> None:
    """Write the example and say what it holds; a folder that is in the way ends it with a sentence."""
    try:
        write_example(Path(folder))
    except UserError as error:
        sys.exit(f"raybench.example: {error}")
    print(f"{folder}/ holds images/, manifest.csv, model.pt and forget.txt")


if __name__ == "__main__":
    main(*sys.argv[1:2])
