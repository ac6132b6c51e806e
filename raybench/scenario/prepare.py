"""Prepare a scenario: read the images of an experiment, draw and verify the roles, write both to the store."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from raybench import models
from raybench.config.schema import Experiment
from raybench.data.images import ImageData
from raybench.data.mislabel import mislabel
from raybench.data.reading.encoded import Encoded
from raybench.data.role_sizes import SizeError, example
from raybench.data.splits import ROLES, Splits, make_splits, roles_of_splits
from raybench.errors import UserError
from raybench.metrics.functions.conformal_quantile import smallest_calibration
from raybench.metrics.functions.folds import stratified_split
from raybench.progress import SILENT, Reporter
from raybench.scenario import downstream, image_store, initial_weights
from raybench.scenario.run_folder import run_folder
from raybench.scenario.scenario import Scenario
from raybench.scoring import metric_rows
from raybench.storage.store import Store, fingerprint


def prepare(
    experiment: Experiment, store: Store, reporter: Reporter = SILENT, *, trust_listing: bool = False
) -> Scenario:
    """Return the scenario of an experiment; skip what the store already contains.

    `trust_listing`: do not list large folders again that did not change, which suffices for a plan.
    """
    config = experiment.data
    images = image_store.load(config, store, reporter, trust_listing=trust_listing)
    mislabeled: np.ndarray | None = None
    if config.mislabel is not None:
        images, mislabeled = mislabel(images, config.mislabel.fraction, config.mislabel.seed)
    pools = roles_of_splits(images.part, held_out_validation=experiment.model.checkpoint is not None)
    try:
        splits = make_splits(
            images,
            config.sizes.of(one_pool=len(pools) == 1),
            experiment.forget.model_dump(),
            config.seed,
            mislabeled=mislabeled,
            held_out_validation=experiment.model.checkpoint is not None,
            tuning_request=experiment.tunes_separately,
        )
        _check_sizes(experiment, splits)
    except SizeError as error:
        raise UserError(f"{error}{_advice(experiment, images, pools)}") from error
    for recipe in (experiment.train.recipe, experiment.train.retrained_recipe):
        recipe.check_labels(images.labels.ndim)
    data_key = image_store.publish(images, store)
    splits_key = f"artifacts/splits/{fingerprint(data_key, splits.fingerprint())}.parquet"
    if not store.exists(splits_key):
        store.write_table(splits_key, splits.to_table(images))
    fixed_size = models.has_fixed_size(experiment.model.name)
    scenario = Scenario(
        store,
        experiment,
        data_key,
        splits_key,
        root=images.images.root if isinstance(images.images, Encoded) else None,
        downstream=downstream.publish(
            experiment.evaluate.downstream,
            store,
            reporter,
            trust_listing=trust_listing,
            channels=models.input_channels(experiment.model.name, images.channels),
            image_size=image_store.image_size(images, config) if fixed_size else None,
        ),
        init=None if experiment.model.init is None else initial_weights.publish(experiment.model.init, store),
    )
    _check_neighbors(scenario)
    scenario.short_side_cache(reporter)
    return replace(scenario, folder=run_folder(scenario))


def _advice(experiment: Experiment, images: ImageData, pools: Mapping[int, Sequence[str]]) -> str:
    """Return sizes that the data set can provide, to be pasted into the experiment file."""
    available = [(roles, int((images.part == part).sum())) for part, roles in pools.items()]
    line = example(available, calibration=max(map(smallest_calibration, experiment.evaluate.alphas)))
    if line is None:
        return f"; the data set is too small for {len(ROLES)} roles and evaluate.alphas = {experiment.evaluate.alphas}"
    return f"; these sizes fit, in the section `data`:\n  {line}"


def _check_sizes(experiment: Experiment, splits: Splits) -> None:
    """Raise UserError for empty roles, and for too few calibration samples for an alpha."""
    sizes = {role: len(splits.ids(role)) for role in ROLES}
    if empty := [role for role, size in sizes.items() if size == 0]:
        raise SizeError(f"data.sizes leaves no samples for {', '.join(empty)} (sizes of the roles: {sizes})")
    k = metric_rows.chosen_metrics(experiment.evaluate.metrics).get("knn", {}).get("k", 1)
    if k > sizes["retain"]:
        raise UserError(
            f"evaluate.metrics.knn.k = {k}: must be at most {sizes['retain']}, the number of retain samples"
        )
    calibration = sizes["calibration"]
    for alpha in experiment.evaluate.alphas:
        smallest = smallest_calibration(alpha)  # with fewer, the conformal quantile is infinite and sets are trivial
        if calibration < smallest:
            raise SizeError(
                f"evaluate.alphas: {alpha} needs at least {smallest} calibration samples, but "
                f"data.sizes.calibration gives {calibration}; enlarge it or use alpha >= {1 / (calibration + 1):.3g}"
            )


def _check_neighbors(scenario: Scenario) -> None:
    """Raise UserError if a k-NN metric asks for more neighbors than a downstream set has samples to look among."""
    chosen = metric_rows.chosen_metrics(scenario.experiment.evaluate.metrics)
    for role, downstream_set in scenario.downstream.items():
        images = downstream_set.images(scenario.store)
        labels = images.labels[downstream_set.ids(images)]
        for metric in ("downstream_knn", "downstream_knn_logits"):
            if metric not in chosen or labels.ndim > 1:  # the metric refuses several labels per sample itself
                continue
            defaults = inspect.signature(metric_rows.get_metric(metric)).parameters
            settings = {key: parameter.default for key, parameter in defaults.items()} | chosen[metric]
            size = int(0.8 * len(labels))
            if metric == "downstream_knn":
                with suppress(ValueError):  # no class is large enough: the metric says so
                    size = len(stratified_split(labels, settings["test_fraction"], settings["seed"])[0])
            if settings["k"] > size:
                raise UserError(
                    f"evaluate.metrics.{metric}.k = {settings['k']}: must be at most {size}, the number of samples of "
                    f"evaluate.downstream.{role.removeprefix(downstream.PREFIX)} that are not queries"
                )
