"""What every unit of work of an experiment shares: the images, the roles, the architecture. Small enough to send.

The images (a memory-mapped uint8 array, or where files lie) and the splits are in the store: `preparing.py` put them
there, and any worker on any node opens them by key.
"""

import copy
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raybench import models
from raybench.config.data import Images
from raybench.config.schema import Experiment
from raybench.data.images import ImageData
from raybench.data.reading.batches import ResidentSplit, Split, seed_for
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.short_side import ShortSide
from raybench.data.reading.stream import StreamedSplit
from raybench.data.splits import ROLES, Splits
from raybench.engine.devices import resolve_device
from raybench.engine.training import Recipe
from raybench.errors import unknown
from raybench.progress import SILENT, Reporter
from raybench.scenario import image_store, initial_weights
from raybench.scenario.downstream import DownstreamSet
from raybench.storage.store import Store

KEPT = 8  # splits that a process keeps: trials share them, and what they have prepared for augmentation
NUMERICS = 1  # raise it when a change of the code changes numbers: older artifacts are then made again
TRAINED_ON = ("retain", "forget")
AUDIT_LIMIT = 10_000  # samples of a large retain set that the quick audit looks at


_made: dict[Any, Split] = {}
_templates: dict[Any, nn.Module] = {}  # the last one


@dataclass(frozen=True)
class Scenario:
    """Data set + forget rule + split seed + architecture, by key."""

    store: Store
    experiment: Experiment
    data_key: str
    splits_key: str
    root: str | None = None  # of images that are streamed: where they lie today, which is no part of what they are
    downstream: Mapping[str, DownstreamSet] = field(default_factory=dict)  # by the role that their predictions go by
    init: str | None = None  # key of the weights that every training starts from

    def data(self) -> ImageData:
        """Open the images, memory-mapped and shared by all processes of the node."""
        return image_store.located(image_store.open_images(self.store.uri, self.data_key), self.root)

    def cached(self, reporter: Reporter = SILENT) -> ShortSide | None:
        """Return this node's scaled-down copy of images that are streamed, where the experiment asks for one."""
        shorter = self.experiment.data.short_side_cache
        if shorter is None or self.root is None:
            return None
        return image_store.short_side(self.root, self.store.uri, self.data_key, shorter, reporter)

    def splits(self) -> Splits:
        return _splits(self.store.uri, self.splits_key)

    def split(
        self,
        *roles: str,
        augment: bool = False,
        limit: int | None = None,
        device: str | None = None,
        recipe: Recipe | None = None,
    ) -> Split:
        """Return the samples of the roles, ready to be batched; `limit` draws that many of them, always the same."""
        train, given = recipe or self.experiment.train, self.experiment.data
        names = tuple(train.augment) if augment else ()
        seen = (names, train.channels_last, self.channels, given.resize, given.view, given.short_side_cache)
        key = (
            self.store.uri,
            self.data_key,
            self.splits_key,
            self.root,
            roles,
            limit,
            seen,
            device or str(self.device),
        )
        if key not in _made:
            ids = np.sort(np.concatenate([self.splits().ids(role) for role in roles]))
            if limit is not None and len(ids) > limit:
                ids = np.sort(np.random.default_rng(seed_for("limit", *roles)).choice(ids, limit, replace=False))
            while len(_made) >= KEPT:
                del _made[next(iter(_made))]
            _made[key] = self.samples(ids, augment=augment, device=device, recipe=recipe)
        return _made[key]

    def samples(
        self, ids: np.ndarray, *, augment: bool = False, device: str | None = None, recipe: Recipe | None = None
    ) -> Split:
        """Return the given samples as the model wants them, augmented by the `recipe` (the original's by default)."""
        given = self.experiment.data
        return self._as_seen(
            self.data(), given, ids, augment=augment, device=device, recipe=recipe, cached=self.cached()
        )

    def _as_seen(
        self,
        images: ImageData,
        given: Images,
        ids: np.ndarray,
        *,
        augment: bool = False,
        device: str | None = None,
        recipe: Recipe | None = None,
        cached: ShortSide | None = None,
    ) -> Split:
        train = recipe or self.experiment.train
        where = self.device if device is None else torch.device(device)
        chosen = train.augment if augment else []
        if isinstance(images.images, Encoded):
            assert given.view is not None
            return StreamedSplit(
                images,
                ids,
                given.view,
                device=where,
                augment=chosen,
                channels_last=train.channels_last,
                cached=cached,
            )
        return ResidentSplit(
            images,
            ids,
            device=where,
            channels=self.channels,
            resize=given.resize,
            augment=chosen,
            channels_last=train.channels_last,
        )

    def audit_splits(self) -> dict[str, Split]:
        """Return what the quick audit looks at: never test, calibration or unseen."""
        return {role: self.split(role, limit=AUDIT_LIMIT) for role in ("retain", "forget", "validation")}

    @property
    def roles(self) -> tuple[str, ...]:
        """Return what models are asked about: the roles, then the downstream sets."""
        return (*ROLES, *self.downstream)

    def role_ids(self, role: str) -> np.ndarray:
        """Return the sample ids of a role, or of a downstream set."""
        if role in self.downstream:
            return self.downstream[role].ids(self.downstream[role].images(self.store))
        if role not in ROLES:
            raise unknown("role", role, self.roles)
        return self.splits().ids(role)

    def role_samples(self, role: str, ids: np.ndarray) -> Split:
        """Return samples of a role or a downstream set as `predict` reads them."""
        if role in self.downstream:
            found = self.downstream[role]
            return self._as_seen(found.images(self.store), found.given, ids)
        return self.samples(ids, augment=self.is_augmented(role))

    def is_augmented(self, role: str) -> bool:
        """Say whether a role is predicted through the training augmentation (`evaluate.train_view`)."""
        experiment = self.experiment
        return experiment.evaluate.train_view == "augmented" and role in TRAINED_ON and bool(experiment.train.augment)

    def view_name(self, role: str) -> str:
        """Say in words how a role is predicted, for the record."""
        return f"augmented: {', '.join(self.experiment.train.augment)}" if self.is_augmented(role) else "clean"

    def role_view(self, role: str) -> list[Any]:
        """Return what, beside the ids, decides the pixels that a model is shown of a role."""
        found = self.downstream.get(role)
        key, given = (self.data_key, self.experiment.data) if found is None else (found.key, found.given)
        view: list[Any] = [key, given.resize, given.view]
        if self.is_augmented(role):  # what is drawn depends on the batches
            view.append([self.experiment.train.augment, self.experiment.evaluate.batch_size])
        return view

    @property
    def device(self) -> torch.device:
        return resolve_device(self.experiment.resources.device)

    @property
    def channels(self) -> int:
        """Return how many channels the model reads."""
        return models.input_channels(self.experiment.model.name, self.data().channels)

    def fresh(self, seed: int) -> nn.Module:
        """Build the model as training starts from it, on the scenario's device: new weights, `model.init` over them."""
        model = self.untrained(seed)
        if self.init is not None:
            self._start(model)
        return model

    def untrained(self, seed: int) -> nn.Module:
        """Build the architecture with random weights."""
        images, model = self.data(), self.experiment.model
        built = models.build(
            model.name,
            num_classes=images.num_classes,
            channels=self.channels,
            seed=seed,
            stem=model.stem,
            width=model.width,
            image_size=image_store.side(images, self.experiment.data),
        )
        return built.to(self.device)

    def _start(self, model: nn.Module) -> list[str]:
        assert self.init is not None
        return initial_weights.load(model, self.store, self.init, name=str(self.experiment.model.init))

    def started_from(self) -> dict[str, Any]:
        """Return which file every training starts from, and which tensors of its head are of another size; else {}."""
        if self.init is None:
            return {}
        return {"init": self.experiment.model.init, "init_not_taken": self._start(self.untrained(0))}

    def load(self, model_key: str) -> nn.Module:
        """Load a finished model by its key."""
        weights = models.read_weights(self.store.read_bytes(f"{model_key}.pt"), name=model_key)
        return self.with_weights(weights, name=model_key)

    def with_weights(self, weights: dict[str, Tensor], *, name: str = "weights") -> nn.Module:
        """Build the model with the given weights."""
        model = copy.deepcopy(self._template())
        models.load_weights(model, weights, name=name)
        return model

    def _template(self) -> nn.Module:
        """Return a model to be copied: drawing weights that are then replaced takes seconds for a large one."""
        key = (self.store.uri, self.data_key, str(self.architecture()), str(self.device))
        if key not in _templates:
            _templates.clear()
            _templates[key] = self.untrained(0)
        return _templates[key]

    def ids_fingerprint(self, *roles: str) -> str:
        """Return a hash of the samples in the roles, which is what a model trained on them depends on."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(np.sort(np.concatenate([self.role_ids(role) for role in roles])).tobytes())
        return digest.hexdigest()

    def architecture(self) -> dict[str, object]:
        """Return what, beside seed and recipe, decides a model before it has seen a sample."""
        model, given = self.experiment.model, self.experiment.data
        made = {"name": model.name, "stem": model.stem, "width": model.width, "resize": given.resize}
        made |= {} if given.view is None else {"view": given.view.model_dump()}
        made |= {} if self.init is None else {"init": self.init}
        made |= {} if given.short_side_cache is None else {"short_side_cache": given.short_side_cache}
        source = models.source_fingerprint(model.name)
        return made if source is None else {**made, "source": source}


@functools.lru_cache(maxsize=4)
def _splits(uri: str, key: str) -> Splits:
    return Splits.from_table(Store(uri).read_table(key))
