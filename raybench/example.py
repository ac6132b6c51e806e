"""Write the examples of two pages, docs/bring-your-own.md and docs/audit-checkpoints.md: images, models, ids to forget.

    python -m raybench.example bring_your_own
    python -m raybench.example audit_checkpoints --audit

The images are scikit-learn's handwritten digits; a tenth of the labels are wrong, as human annotations often are.
Nothing is downloaded. The original is a small network trained on the `train` rows, which include those to forget. With
`--audit` there are also retrained models, trained on the other `train` rows only, and two sets of unlearned models:
`finetuned` was trained further on these rows, `exact` consists of further retrained models.
"""

import argparse
import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from raybench import data, models
from raybench.data.images import IMAGENET_MEAN, IMAGENET_STD, TEST, TRAIN, ImageData
from raybench.data.mislabel import mislabel
from raybench.data.reading.batches import ResidentSplit
from raybench.engine.training import Recipe, train
from raybench.errors import UserError
from raybench.models.checkpoints import SAFETENSORS, to_safetensors

NUM_TRAIN, NUM_FORGET = 600, 120
NUM_RETRAINED, NUM_UNLEARNED = 8, 2
RECIPE = Recipe(epochs=40, lr=0.1, batch_size=64, weight_decay=5e-4)
FINE_TUNING = 5  # epochs


def write_example(
    folder: Path, *, recipe: Recipe = RECIPE, width: int = 16, seed: int = 0, audit: bool = False
) -> list[str]:
    """Write images/, manifest.csv, forget.txt and the models into `folder`, which must be new or empty.

    Return the names of the model files: model.pt, or with `audit` original.pt and the models to audit.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{str(folder)!r} is not an empty folder; choose another folder for the example")
    images, _ = mislabel(data.load("digits"), 0.1, seed)
    generator = np.random.default_rng(seed)
    train_ids = np.sort(generator.permutation(images.num_samples)[:NUM_TRAIN])
    forget_ids = np.sort(generator.choice(train_ids, NUM_FORGET, replace=False))
    (folder / "images").mkdir(parents=True)
    _write_manifest(folder, images, train_ids)
    (folder / "forget.txt").write_text("".join(f"{i}\n" for i in forget_ids), encoding="ascii")
    read = _as_read_from_files(images)
    retain_ids = np.setdiff1d(train_ids, forget_ids)

    def trained(ids: np.ndarray, number: int) -> nn.Module:
        model = models.build("cnn", num_classes=images.num_classes, width=width, seed=seed + number)
        train(model, ResidentSplit(read, ids), recipe, seed=seed + number)
        return model

    def finetuned(number: int) -> nn.Module:
        model = trained(train_ids, 0)
        fine_tuning = recipe.model_copy(update={"epochs": FINE_TUNING, "lr": recipe.lr / 10})
        train(model, ResidentSplit(read, retain_ids), fine_tuning, seed=seed + number)
        return model

    original = trained(train_ids, 0)
    if not audit:
        return [_write_model(original, folder / "model.pt")]
    files = [_write_model(original, folder / "original.pt")]
    for number in range(NUM_RETRAINED):
        files.append(_write_model(trained(retain_ids, 1 + number), folder / f"retrained-{number}.pt"))
    for number in range(NUM_UNLEARNED):
        files.append(_write_model(finetuned(number), folder / f"finetuned-{number}{SAFETENSORS}"))
        further = trained(retain_ids, 1 + NUM_RETRAINED + number)
        files.append(_write_model(further, folder / f"exact-{number}{SAFETENSORS}"))
    return files


def _write_model(model: nn.Module, file: Path) -> str:
    file.write_bytes(to_safetensors(model.state_dict()) if file.suffix == SAFETENSORS else models.to_bytes(model))
    return file.name


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


def main() -> None:
    """Write the example and print what it contains."""
    parser = argparse.ArgumentParser(prog="python -m raybench.example", description="Write an example project.")
    parser.add_argument("folder", nargs="?", default="bring_your_own", help="a new or empty folder")
    parser.add_argument("--audit", action="store_true", help="also write retrained and unlearned models")
    options = parser.parse_args()
    try:
        files = write_example(Path(options.folder), audit=options.audit)
    except UserError as error:
        sys.exit(f"raybench.example: {error}")
    print(f"wrote images/, manifest.csv, forget.txt and {', '.join(files)} to {options.folder}/")


if __name__ == "__main__":
    main()
