"""The images, roles and architecture of an experiment, by key; small enough to send to every worker.

`prepare` puts the images (a memory-mapped uint8 array, or the locations of files) and the splits into the store; any
worker on any node opens them by key.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raybench import models
from raybench.config.schema import Experiment
from raybench.data.images import ImageData
from raybench.data.reading.batches import Split, seed_for
from raybench.data.reading.short_side import ShortSide
from raybench.data.splits import ROLES, Splits
from raybench.engine.devices import resolve_device
from raybench.engine.training import Recipe
from raybench.errors import unknown
from raybench.methods.framework.defaults import Training
from raybench.progress import SILENT, Reporter
from raybench.scenario import image_store, initial_weights, stored_splits
from raybench.scenario.downstream import DownstreamSet
from raybench.scenario.process_cache import ProcessCache
from raybench.scenario.samples import open_samples
from raybench.scenario.stored_splits import Request
from raybench.storage.store import Store

NUMERICS = 1  # increase it when a code change changes numbers; older artifacts are then computed again
TRAINING_ROLES = ("retain", "forget")
AUDIT_ROLES = ("retain", "forget", "validation")
AUDIT_LIMIT = 10_000  # samples of a large retain set in the validation-time evaluation

OPEN_SPLITS: ProcessCache[Split] = ProcessCache(capacity=8)  # trials share splits and their augmentation windows
TEMPLATE_MODELS: ProcessCache[nn.Module] = ProcessCache(capacity=1)  # copied instead of drawing weights again


@dataclass(frozen=True)
class Scenario:
    """Dataset + forget rule + split seed + architecture, by key; as one of its deletion requests sees it."""

    store: Store
    experiment: Experiment
    data_key: str
    splits_key: str
    root: str | None = None  # folder of streamed images; not part of any key, because files may move
    downstream: Mapping[str, DownstreamSet] = field(default_factory=dict)  # by the role of their predictions
    init: str | None = None  # key of the weights that every training starts from
    request: Request = "reported"
    folder: str = ""  # of the run: name/fingerprint

    def of(self, request: Request) -> "Scenario":
        """Return the scenario of a deletion request; both are the same if the search tunes on the reported one."""
        return replace(self, request=request if self.experiment.tunes_separately else "reported")

    @property
    def device(self) -> torch.device:
        return resolve_device(self.experiment.resources.device)

    @property
    def training(self) -> Training:
        """Return what the defaults of methods follow: the recipe of the original and the sizes of both sets."""
        sizes = self.splits().sizes()
        return Training(self.experiment.train.recipe, num_forget=sizes["forget"], num_retain=sizes["retain"])

    # Samples

    def data(self) -> ImageData:
        """Open the images, memory-mapped and shared by all processes of the node."""
        return image_store.relocate(image_store.open_images(self.store.uri, self.data_key), self.root)

    def splits(self) -> Splits:
        """Read the sample ids of every role, as reported."""
        return stored_splits.read_splits(self.store.uri, self.splits_key)

    @property
    def _stored_splits(self) -> tuple[str, str, Request]:
        return self.store.uri, self.splits_key, self.request

    def training_ids(self, role: str) -> np.ndarray:
        """Return the sample ids of a role that models train on and methods unlearn.

        A tuning request forgets its own forget set; everything else that the original was trained on is retained.
        """
        return stored_splits.training_ids(*self._stored_splits, role)

    def short_side_cache(self, reporter: Reporter = SILENT) -> ShortSide | None:
        """Return this node's scaled-down copy of streamed images, if the experiment uses one; write it if missing."""
        short_side = self.experiment.data.short_side_cache
        if short_side is None or self.root is None:
            return None
        return image_store.open_short_side_cache(self.root, self.store.uri, self.data_key, short_side, reporter)

    def split(
        self,
        *roles: str,
        augment: bool = False,
        limit: int | None = None,
        device: str | None = None,
        recipe: Recipe | None = None,
        measured: bool = False,
    ) -> Split:
        """Return the samples of the roles, ready to be batched: those to train on, or those that are `measured`.

        `limit` draws a fixed subset of that size.
        """
        train, data = recipe or self.experiment.train, self.experiment.data
        key = (
            self.store.uri,
            self.data_key,
            self.splits_key,
            self.request,
            self.root,
            roles,
            measured,
            limit,
            tuple(train.augment) if augment else (),
            train.channels_last,
            self.channels,
            data.resize,
            data.view,
            data.short_side_cache,
            device or str(self.device),
        )

        def build() -> Split:
            ids_of = self.role_ids if measured else self.training_ids
            ids = np.sort(np.concatenate([ids_of(role) for role in roles]))
            if limit is not None and len(ids) > limit:
                ids = np.sort(np.random.default_rng(seed_for("limit", *roles)).choice(ids, limit, replace=False))
            return self.samples(ids, augment=augment, device=device, recipe=recipe)

        return OPEN_SPLITS.get(key, build)

    def samples(
        self, ids: np.ndarray, *, augment: bool = False, device: str | None = None, recipe: Recipe | None = None
    ) -> Split:
        """Return samples by id as the model reads them, augmented as in `recipe` (default: that of the original)."""
        train = recipe or self.experiment.train
        return open_samples(
            self.data(),
            ids,
            self.experiment.data,
            device=self.device if device is None else torch.device(device),
            channels=self.channels,
            augment=train.augment if augment else (),
            channels_last=train.channels_last,
            short_side_cache=self.short_side_cache(),
        )

    def audit_splits(self) -> dict[str, Split]:
        """Return the splits of the validation-time evaluation; it never reads test, calibration or unseen samples."""
        return {role: self.split(role, limit=AUDIT_LIMIT, measured=True) for role in AUDIT_ROLES}

    # Roles and downstream sets, as models predict them

    @property
    def roles(self) -> tuple[str, ...]:
        """Return everything that models predict: the roles, then the downstream sets."""
        return (*ROLES, *self.downstream)

    def role_ids(self, role: str) -> np.ndarray:
        """Return the sample ids of a role or of a downstream set that are measured.

        Where hyperparameters are tuned on another request, the retain samples of a search and of the report differ.
        """
        if role in self.downstream:
            return self.downstream[role].ids(self.downstream[role].images(self.store))
        if role not in ROLES:
            raise unknown("role", role, self.roles)
        return stored_splits.measured_ids(*self._stored_splits, role)

    def role_samples(self, role: str, ids: np.ndarray) -> Split:
        """Return samples of a role or of a downstream set for prediction."""
        if role not in self.downstream:
            return self.samples(ids, augment=self.is_augmented(role))
        downstream = self.downstream[role]
        return open_samples(
            downstream.images(self.store),
            ids,
            downstream.config,
            device=self.device,
            channels=self.channels,
            channels_last=self.experiment.train.channels_last,
        )

    def is_augmented(self, role: str) -> bool:
        """Return whether a role is predicted with the training augmentation (`evaluate.train_view`)."""
        experiment = self.experiment
        return (
            experiment.evaluate.train_view == "augmented" and role in TRAINING_ROLES and bool(experiment.train.augment)
        )

    def view_name(self, role: str) -> str:
        """Describe how a role is predicted, for the record."""
        return f"augmented: {', '.join(self.experiment.train.augment)}" if self.is_augmented(role) else "clean"

    # Models

    @property
    def channels(self) -> int:
        """Return the number of channels that the model reads."""
        return models.input_channels(self.experiment.model.name, self.data().channels)

    def fresh(self, seed: int) -> nn.Module:
        """Build the model that training starts from, on the scenario's device: random weights, then `model.init`."""
        model = self.untrained(seed)
        if self.init is not None:
            self._load_init(model)
        return model

    def untrained(self, seed: int) -> nn.Module:
        """Build the architecture with random weights."""
        images, config = self.data(), self.experiment.model
        model = models.build(
            config.name,
            num_classes=images.num_classes,
            channels=self.channels,
            seed=seed,
            stem=config.stem,
            width=config.width,
            image_size=image_store.image_size(images, self.experiment.data),
        )
        return model.to(self.device)

    def started_from(self) -> dict[str, Any]:
        """Return the file of `model.init` and the head tensors with another size in it; {} without `model.init`."""
        if self.init is None:
            return {}
        return {"init": self.experiment.model.init, "init_not_taken": self._load_init(self.untrained(0))}

    def load(self, model_key: str) -> nn.Module:
        """Load a finished model by its key."""
        weights = models.read_weights(self.store.read_archive(f"{model_key}.pt"), name=model_key)
        return self.with_weights(weights, name=model_key)

    def with_weights(self, weights: dict[str, Tensor], *, name: str = "weights") -> nn.Module:
        """Build the model with these weights."""
        # Copying a template is faster: drawing weights only to replace them takes seconds for a large model.
        key = (self.store.uri, self.data_key, str(self.architecture()), str(self.device))
        model = copy.deepcopy(TEMPLATE_MODELS.get(key, lambda: self.untrained(0)))
        models.load_weights(model, weights, name=name)
        return model

    def _load_init(self, model: nn.Module) -> list[str]:
        assert self.init is not None
        return initial_weights.load(model, self.store, self.init, name=str(self.experiment.model.init))

    # What keys of artifacts depend on

    def ids_fingerprint(self, *roles: str) -> str:
        """Hash the sample ids of the roles, which a model trained on them depends on."""
        return stored_splits.hash_training_ids(*self._stored_splits, roles)

    def measured_fingerprint(self, role: str) -> str:
        """Hash the sample ids of a role or a downstream set that are measured."""
        if role in self.downstream:
            return stored_splits.hash_ids(self.role_ids(role))
        return stored_splits.hash_measured_ids(*self._stored_splits, role)

    def role_view(self, role: str) -> list[Any]:
        """Return what determines the pixels of a role that a model reads, in addition to the ids."""
        downstream = self.downstream.get(role)
        if downstream is None:
            view: list[Any] = [self.data_key, self.experiment.data.resize, self.experiment.data.view]
        else:
            view = [downstream.key, downstream.config.resize, downstream.config.view]
        if self.is_augmented(role):  # the random draws depend on the batches
            view.append([self.experiment.train.augment, self.experiment.evaluate.batch_size])
        return view

    def architecture(self) -> dict[str, object]:
        """Return what determines an untrained model, in addition to seed and recipe."""
        model, data = self.experiment.model, self.experiment.data
        parts: dict[str, object] = {
            "name": model.name,
            "stem": model.stem,
            "width": model.width,
            "resize": data.resize,
        }
        if data.view is not None:
            parts["view"] = data.view.model_dump()
        if self.init is not None:
            parts["init"] = self.init
        if data.short_side_cache is not None:
            parts["short_side_cache"] = data.short_side_cache
        source = models.source_fingerprint(model.name)
        return parts if source is None else {**parts, "source": source}
