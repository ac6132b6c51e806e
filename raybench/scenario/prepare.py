"""From an experiment to its scenario: load the images, draw the roles, verify them, put both into the store."""

import numpy as np

from raybench import models
from raybench.config.schema import Experiment
from raybench.data.mislabel import mislabel
from raybench.data.reading.encoded import Encoded
from raybench.data.splits import ROLES, Splits, make_splits
from raybench.errors import UserError
from raybench.metrics.functions.conformal_quantile import smallest_calibration
from raybench.progress import SILENT, Reporter
from raybench.scenario import downstream, image_store, initial_weights
from raybench.scenario.scenario import Scenario
from raybench.storage.store import Store, fingerprint


def prepare(experiment: Experiment, store: Store, reporter: Reporter = SILENT) -> Scenario:
    """Return the scenario of an experiment; what the store holds already is not written again."""
    given = experiment.data
    images = image_store.load(given, store, reporter)
    changed: np.ndarray | None = None
    if given.mislabel is not None:
        images, changed = mislabel(images, given.mislabel.fraction, given.mislabel.seed)
    forget = experiment.forget.model_dump()
    splits = make_splits(
        images,
        given.sizes.model_dump(),
        forget,
        given.seed,
        mislabeled=changed,
        held_out_validation=experiment.model.checkpoint is not None,
    )
    _require(experiment, splits)
    for recipe in (experiment.train.recipe, experiment.train.retrained_recipe):
        recipe.check_labels(images.labels.ndim)
    data_key = image_store.publish(images, store)
    splits_key = f"artifacts/splits/{fingerprint(data_key, splits.fingerprint())}.parquet"
    if not store.exists(splits_key):
        store.write_table(splits_key, splits.to_table(images))
    root = images.images.root if isinstance(images.images, Encoded) else None
    others = downstream.publish(
        experiment.evaluate.downstream,
        store,
        reporter,
        channels=models.input_channels(experiment.model.name, images.channels),
        side=image_store.side(images, given) if models.has_fixed_size(experiment.model.name) else None,
    )
    init = None if experiment.model.init is None else initial_weights.publish(experiment.model.init, store)
    scenario = Scenario(store, experiment, data_key, splits_key, root, others, init)
    scenario.cached(reporter)
    return scenario


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
