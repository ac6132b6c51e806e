"""Downstream datasets: images with their own labels that every model predicts and none is trained on.

How well a model's features transfer shows what information is left in them (arXiv 2503.06991). Predictions of a
downstream set are stored next to those of the roles, as role `downstream-<name>`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from raybench.config.data import Downstream
from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.order import seed_for
from raybench.errors import UserError
from raybench.progress import Reporter
from raybench.scenario import image_store
from raybench.storage.store import Store

PREFIX = "downstream-"


@dataclass(frozen=True)
class DownstreamSet:
    """One downstream set in the store, by key; `root` is the folder of its files if they are streamed."""

    config: Downstream
    key: str
    root: str | None = None

    def images(self, store: Store) -> ImageData:
        """Open the images, memory-mapped."""
        return image_store.relocate(image_store.open_images(store.uri, self.key), self.root)

    def ids(self, images: ImageData) -> np.ndarray:
        """Return the samples that models predict, sorted, from all official splits, as in the reference."""
        ids = np.flatnonzero(images.part != LEFT_OUT).astype(np.int64)
        limit = self.config.limit
        if limit is None or len(ids) <= limit:
            return ids
        return np.sort(np.random.default_rng(seed_for("downstream", limit)).choice(ids, limit, replace=False))


def publish(
    configs: Mapping[str, Downstream],
    store: Store,
    reporter: Reporter,
    *,
    trust_listing: bool,
    channels: int,
    image_size: int | None,
) -> dict[str, DownstreamSet]:
    """Write every downstream set to the store; return the sets by role.

    `channels` and `image_size` are those that the model reads; `image_size` is None if it accepts any. Raises UserError
    for images that the model cannot read.
    """
    sets = {}
    for name, config in configs.items():
        try:
            images = image_store.load(config, store, reporter, trust_listing=trust_listing)
            _check_images(images, config, channels, image_size)
        except UserError as error:
            raise UserError(f"evaluate.downstream.{name}: {error}") from error
        root = images.images.root if isinstance(images.images, Encoded) else None
        sets[f"{PREFIX}{name}"] = DownstreamSet(config, image_store.publish(images, store), root)
    return sets


def _check_images(images: ImageData, config: Downstream, channels: int, image_size: int | None) -> None:
    """Raise UserError unless the model can read the images and at least one is not left out."""
    if images.channels not in (1, channels):
        raise UserError(
            f"its images have {images.channels} channels, but the model and its training images have {channels} "
            "(torchvision models read 3; gray images are repeated to 3)"
        )
    actual = image_store.image_size(images, config)
    if image_size is not None and actual != image_size:
        raise UserError(
            f"its images are {f'{actual} x {actual} pixels' if actual else 'not square'}, but the model reads "
            f"{image_size} x {image_size}: set resize: {image_size}, or view: {{size: {image_size}}} if its images are "
            "files"
        )
    if not (images.part != LEFT_OUT).any():
        raise UserError("all of its images are left out")
