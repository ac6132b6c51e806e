"""The seeds of an experiment's models and runs, none of which is used twice."""

import itertools

from raybench.config.schema import Experiment
from raybench.engine.audit import GAP

FIRST_REFERENCE_SEED = 2_000_003  # far from the seeds of other models and runs
FIRST_FINALIST_SEED = 3_000_017
FURTHER_ORIGINALS = 10_000  # seeds far from all others, so that more retrained models or runs leave the originals alone


def original_seeds(experiment: Experiment, number: int) -> list[int]:
    """Return the training seeds of the first `number` originals.

    The first is `train.seed`. The further ones are used by no retrained model, search or run, and do not depend on how
    many of these there are.
    """
    sweep, train, population = experiment.sweep, experiment.train, experiment.evaluate.population
    runs = max(sweep.seeds, population.runs if population is not None else 0)
    first_run = first_final_seed(experiment)
    used = {sweep.seed, train.seed, *train.seeds, *range(first_run, first_run + runs)}
    further = (seed for seed in itertools.count(train.seed + FURTHER_ORIGINALS + 1) if seed not in used)
    return [train.seed, *itertools.islice(further, number - 1)]


def reference_seeds(experiment: Experiment) -> list[int]:
    """Return the seeds of the search's references.

    None unless the search tunes on a separate request and minimizes the gap to retrained models.
    """
    if not experiment.tunes_separately or experiment.sweep.objective != GAP:
        return []
    return [FIRST_REFERENCE_SEED + i for i in range(experiment.sweep.references)]


def first_final_seed(experiment: Experiment) -> int:
    """Return a seed that neither the search nor a trained model uses; `retrain` would reproduce such a model."""
    return max([experiment.sweep.seed, experiment.train.seed, *experiment.train.seeds]) + 1
