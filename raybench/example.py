"""Write the example of docs/bring-your-own.md: images, a manifest, a trained checkpoint and ids to forget.

    python -m raybench.example bring_your_own

The images are scikit-learn's handwritten digits; a tenth of the labels are wrong, as human annotations often are.
Nothing is downloaded. The checkpoint is a small network trained on the `train` rows, which include those to forget.
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
        raise UserError(f"{str(folder)!r} is not an empty folder; choose another folder for the example")
    images, _ = mislabel(data.load("digits"), 0.1, seed)
    generator = np.random.default_rng(seed)
    train_ids = np.sort(generator.permutation(images.num_samples)[:NUM_TRAIN])
    forget_ids = np.sort(generator.choice(train_ids, NUM_FORGET, replace=False))
    (folder / "images").mkdir(parents=True)
    _write_manifest(folder, images, train_ids)
    (folder / "forget.txt").write_text("".join(f"{i}\n" for i in forget_ids), encoding="ascii")
    model = models.build("cnn", num_classes=images.num_classes, width=width, seed=seed)
    train(model, ResidentSplit(_as_read_from_files(images), train_ids), recipe, seed=seed)
    (folder / "model.pt").write_bytes(models.to_bytes(model))


def _write_manifest(folder: Path, images: ImageData, train_ids: np.ndarray) -> None:
    part = np.full(images.num_samples, TEST)
    part[train_ids] = TRAIN
    with (folder / "manifest.csv").open("w", newline="", encoding="ascii") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split"])
        for i, (pixels, label) in enumerate(zip(images.pixels, images.labels)):
            name = f"images/{i:04}.png"
            Image.fromarray(pixels[..., 0]).save(folder / name)
            rows.writerow([name, images.class_names[label], "train" if part[i] == TRAIN else "test"])


def _as_read_from_files(images: ImageData) -> ImageData:
    """Return the images as the `manifest` format reads them: three channels, normalized by the ImageNet statistics."""
    return replace(images, images=np.repeat(images.pixels, 3, axis=3), mean=IMAGENET_MEAN, std=IMAGENET_STD)


def main(folder: str = "bring_your_own") -> None:
    """Write the example and print what it contains."""
    try:
        write_example(Path(folder))
    except UserError as error:
        sys.exit(f"raybench.example: {error}")
    print(f"wrote images/, manifest.csv, model.pt and forget.txt to {folder}/")


if __name__ == "__main__":
    main(*sys.argv[1:2])
