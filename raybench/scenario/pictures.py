"""The images of a run for its report: class names always, pictures where the data set may be shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from raybench import data
from raybench.data.reading.decode_image import decode
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError
from raybench.report.html.thumbnails import Pictures
from raybench.scenario import image_store
from raybench.storage.store import Store


def open_pictures(store: Store, manifest: Mapping[str, Any], *, show: bool | None = None) -> Pictures | None:
    """Return the images of a run; None if they are not on this machine.

    `show`: whether the report shows them; by default only those of public data sets without faces. Images of a remote
    storage are fetched only if `show` is True. Raise UserError if they are to be shown and cannot be read.
    """
    settings = yaml.safe_load(manifest["experiment"])["data"]
    key = manifest.get("artifacts", {}).get("data")
    if key is None or (not show and not image_store.is_here(store, key)):
        return None
    try:
        images = image_store.relocate(image_store.open_images(store.uri, key), settings.get("root"))
    except (UserError, OSError):
        if show:
            raise
        return None

    def read(sample: int) -> np.ndarray:
        if isinstance(images.images, Encoded):
            return decode(images.images.read(sample), images.images.name(sample))
        return np.asarray(images.images[sample])

    shown = data.may_be_shown(settings["dataset"]) if show is None else show
    if shown and show is None and isinstance(images.images, Encoded) and not Path(images.images.root).is_dir():
        shown = False
    return Pictures(images.class_names, np.asarray(images.labels), read if shown else None)
