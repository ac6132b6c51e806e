"""Downstream sets: other images, with labels of their own, that every model is asked about and none is trained on.

What is left in a model's features shows in how well they serve elsewhere (arXiv 2503.06991). A set's predictions are
stored beside those of the roles, as the role `downstream-<name>`.
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
    """One set in the store, by key; `root` is where the files of a streamed one lie today."""

    given: Downstream
    key: str
    root: str | None = None

    def images(self, store: Store) -> ImageData:
        """Open the images, memory-mapped."""
        return image_store.located(image_store.open_images(store.uri, self.key), self.root)

    def ids(self, images: ImageData) -> np.ndarray:
        """Return the samples that models are asked about, sorted: whatever their official part, as in the source."""
        found = np.flatnonzero(images.part != LEFT_OUT).astype(np.int64)
        limit = self.given.limit
        if limit is None or len(found) <= limit:
            return found
        return np.sort(np.random.default_rng(seed_for("downstream", limit)).choice(found, limit, replace=False))


def publish(
    given: Mapping[str, Downstream], store: Store, reporter: Reporter, *, channels: int, side: int | None
) -> dict[str, DownstreamSet]:
    """Put every set into the store, by name; refuse images that the model cannot read.

    `channels` and `side` are those that the model is built for; `side` is None where it takes any.
    """
    found = {}
    for name, wanted in given.items():
        try:
            images = image_store.load(wanted, store, reporter)
            _require(images, wanted, channels, side)
        except UserError as error:
            raise UserError(f"evaluate.downstream.{name}: {error}") from error
        root = images.images.root if isinstance(images.images, Encoded) else None
        found[f"{PREFIX}{name}"] = DownstreamSet(wanted, image_store.publish(images, store), root)
    return found


def _require(images: ImageData, given: Downstream, channels: int, side: int | None) -> None:
    if images.channels not in (1, channels):
        raise UserError(
            f"its images have {images.channels} channels, and the model reads {channels}, as do the images that it is "
            "trained on (a torchvision model reads 3, and 1 is widened to 3)"
        )
    if side is not None and (found := image_store.side(images, given)) != side:
        raise UserError(
            f"its images have {found or 'unequal'} pixels a side, and the model is built for {side}: give this set "
            f"resize: {side}, or view: {{size: {side}}} where its images are files"
        )
    if not (images.part != LEFT_OUT).any():
        raise UserError("none of its images is left")
