"""Score how much each training sample of an experiment is memorized, for the forget rule `hard`.

    OMP_NUM_THREADS=1 python benchmarks/memorization.py [--models 60] [--out FILE] [--short]

Feldman and Zhang 2020, arXiv 2008.03703: train models on random 70 % of the retain and forget samples of the
quickstart. The score of a sample, in -1..1, is the fraction of the models trained on it that predict its label, minus
that of the models not trained on it. `experiments/hard_forget_set.parquet` holds the scores of 60 models. One process
without Ray; 60 models take 1 to 4 minutes. --short trains 4 for one epoch.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from raybench.config.reading import load_experiment
from raybench.engine.prediction import predict
from raybench.engine.training import train
from raybench.scenario.prepare import prepare
from raybench.scenario.scenario import Scenario
from raybench.storage.store import Store

QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.yaml"
FRACTION = 0.7


def memorization(scenario: Scenario, models: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids (N,) of all training samples and their scores (N,); NaN if all models or none had a sample."""
    ids = np.sort(np.concatenate([scenario.splits().ids(role) for role in ("retain", "forget")]))
    member, right = np.zeros((2, models, len(ids)), dtype=bool)
    for number in range(models):
        member[number] = np.random.default_rng(number).permutation(len(ids)) < FRACTION * len(ids)
        model = scenario.fresh(1000 + number)
        recipe = scenario.experiment.train.recipe
        train(model, scenario.samples(ids[member[number]], augment=True), recipe, seed=1000 + number)
        predictions = predict(model, scenario.samples(ids))
        right[number] = predictions.logits.argmax(axis=1) == predictions.labels
    with np.errstate(invalid="ignore"):
        scores = (right & member).sum(axis=0) / member.sum(axis=0) - (right & ~member).sum(axis=0) / (~member).sum(
            axis=0
        )
    return ids, scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--out", type=Path, help="write the scores here: Parquet with the columns id and score")
    parser.add_argument("--short", action="store_true", help="4 models, one epoch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment, _ = load_experiment(QUICKSTART, ["train.epochs=1"] if arguments.short else [])
    with tempfile.TemporaryDirectory() as folder:
        scenario = prepare(experiment, Store(folder))
        ids, scores = memorization(scenario, 4 if arguments.short else arguments.models)
    known = np.isfinite(scores)
    for low in (0.25, 0.5, 0.75):
        print(f"score of {low:g} and above: {(scores[known] >= low).sum()} of {known.sum()} samples")
    print(f"mean of the largest 60: {np.sort(scores[known])[-60:].mean():.2f}, of all: {scores[known].mean():.2f}")
    if arguments.out is not None:
        pq.write_table(pa.table({"id": ids[known], "score": scores[known].astype(np.float32)}), arguments.out)


if __name__ == "__main__":
    main()
