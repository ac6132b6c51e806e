"""What every unit of work of an experiment shares: the images, the roles, the architecture. Small enough to send.

`prepare` puts the images (one memory-mapped uint8 array) and the splits into the store; any worker on any node then
opens them by key.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from raybench import data, models
from raybench.data import resident
from raybench.data.batches import ResidentSplit, seed_for
from raybench.data.images import ImageData
from raybench.data.mislabel import mislabel
from raybench.data.splits import ROLES, Splits, make_splits
from raybench.devices import resolve_device
from raybench.errors import UserError
from raybench.experiment import Experiment
from raybench.metrics.conformal_quantile import smallest_calibration
from raybench.store import Store, fingerprint

NUMERICS = 1  # raise it when a change of the code changes numbers: older artefacts are then made again
AUDIT_LIMIT = 10_000  # samples of a large retain set that the quick audit looks at
CACHE = Path("~/.cache/raybench")  # where a node keeps images that live on a remote storage


@dataclass(frozen=True)
class Scenario:
    """Data set + forget rule + split seed + architecture, by key."""

    store: Store
    experiment: Experiment
    data_key: str
    splits_key: str

    def data(self) -> ImageData:
        """Open the images, memory-mapped and shared by all processes of the node."""
        return _open(self.store.uri, self.data_key)

    def splits(self) -> Splits:
        return _splits(self.store.uri, self.splits_key)

    def split(
        self, *roles: str, augment: bool = False, limit: int | None = None, device: str | None = None
    ) -> ResidentSplit:
        """Return the samples of the roles, ready to be batched; `limit` draws that many of them, always the same."""
        ids = np.sort(np.concatenate([self.splits().ids(role) for role in roles]))
        if limit is not None and len(ids) > limit:
            ids = np.sort(np.random.default_rng(seed_for("limit", *roles)).choice(ids, limit, replace=False))
        return self.samples(ids, augment=augment, device=device)

    def samples(self, ids: np.ndarray, *, augment: bool = False, device: str | None = None) -> ResidentSplit:
        """Return the given samples as the model wants them."""
        train, images = self.experiment.train, self.data()
        return ResidentSplit(
            images,
            ids,
            device=self.device if device is None else torch.device(device),
            channels=models.input_channels(self.experiment.model.name, images.channels),
            resize=self.experiment.data.resize,
            augment=train.augment if augment else [],
            channels_last=train.channels_last,
        )

    def audit_splits(self) -> dict[str, ResidentSplit]:
        """Return what the quick audit looks at: never test, calibration or unseen."""
        return {role: self.split(role, limit=AUDIT_LIMIT) for role in ("retain", "forget", "validation")}

    @property
    def device(self) -> torch.device:
        return resolve_device(self.experiment.resources.device)

    def fresh(self, seed: int) -> nn.Module:
        """Build the model with new weights, on the scenario's device."""
        images, model = self.data(), self.experiment.model
        channels = models.input_channels(model.name, images.channels)
        built = models.build(
            model.name, num_classes=images.num_classes, channels=channels, seed=seed, stem=model.stem, width=model.width
        )
        return built.to(self.device)

    def load(self, model_key: str) -> nn.Module:
        """Load a finished model by its key."""
        weights = models.read_weights(self.store.read_bytes(f"{model_key}.pt"), name=model_key)
        return self.with_weights(weights, name=model_key)

    def with_weights(self, weights: dict[str, Tensor], *, name: str = "weights") -> nn.Module:
        """Build the model with the given weights."""
        model = self.fresh(0)
        models.load_weights(model, weights, name=name)
        return model

    def ids_fingerprint(self, *roles: str) -> str:
        """Return a hash of the samples in the roles, which is what a model trained on them depends on."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(np.sort(np.concatenate([self.splits().ids(role) for role in roles])).tobytes())
        return digest.hexdigest()

    def architecture(self) -> dict[str, object]:
        """Return what, beside seed and recipe, decides a model before it has seen a sample."""
        model, size = self.experiment.model, self.experiment.data.resize
        return {"name": model.name, "stem": model.stem, "width": model.width, "resize": size}


def prepare(experiment: Experiment, store: Store) -> Scenario:
    """Load the data set, draw the roles, verify them, and put both into the store (once per content)."""
    given = experiment.data
    root = Path(given.root).expanduser() if given.root is not None else None
    images = data.load(given.dataset, root=root, download=given.download, **given.options)
    changed: np.ndarray | None = None
    if given.mislabel is not None:
        images, changed = mislabel(images, given.mislabel.fraction, given.mislabel.seed)
    forget = experiment.forget.model_dump()
    splits = make_splits(images, given.sizes.model_dump(), forget, given.seed, mislabelled=changed)
    _require(experiment, splits)
    data_key = f"artefacts/data/{images.fingerprint()}"
    splits_key = f"artefacts/splits/{fingerprint(data_key, splits.fingerprint())}.parquet"
    _publish(images, store, data_key)
    if not store.exists(splits_key):
        store.write_table(splits_key, splits.to_table(images))
    return Scenario(store, experiment, data_key, splits_key)


def _require(experiment: Experiment, splits: Splits) -> None:
    """Refuse roles too small for what the experiment asks of them."""
    sizes = {role: len(splits.ids(role)) for role in ROLES}
    if empty := [role for role, size in sizes.items() if size == 0]:
        raise UserError(f"data.sizes leaves no samples for {', '.join(empty)} (the roles have {sizes})")
    calibration = sizes["calibration"]
    for alpha in experiment.evaluate.alphas:
        needed = smallest_calibration(alpha)  # below it the conformal quantile is infinite: sets hold every class
        if calibration < needed:
            raise UserError(
                f"evaluate.alphas: {alpha} needs at least {needed} calibration samples, data.sizes.calibration gives "
                f"{calibration}; enlarge it or take alpha >= {1 / (calibration + 1):.3g}"
            )


def _publish(images: ImageData, store: Store, key: str) -> None:
    """Save the images under their key: straight into a local store, by way of the node's cache into a remote one."""
    if store.exists(f"{key}/meta.json"):
        return
    if store.is_local:
        resident.save(images, Path(store.path(key)))
        return
    folder = CACHE.expanduser() / key
    resident.save(images, folder)
    # meta.json last: its existence says that the rest is there
    for file in sorted(folder.iterdir(), key=lambda path: path.name == "meta.json"):
        store.write_bytes(f"{key}/{file.name}", file.read_bytes())


@functools.lru_cache(maxsize=4)
def _open(uri: str, key: str) -> ImageData:
    store = Store(uri)
    folder = Path(store.path(key)) if store.is_local else CACHE.expanduser() / key
    if not (folder / "meta.json").is_file():
        _fetch(store, key, folder)
    return resident.open_resident(folder)


def _fetch(store: Store, key: str, folder: Path) -> None:
    cache = Store(str(CACHE.expanduser()))
    names: Sequence[str] = store.keys(key)
    for name in sorted(names, key=lambda name: name.endswith("meta.json")):
        cache.write_bytes(name, store.read_bytes(name))


@functools.lru_cache(maxsize=4)
def _splits(uri: str, key: str) -> Splits:
    return Splits.from_table(Store(uri).read_table(key))
