"""The evaluation in TensorBoard: leaderboard, distributions of losses and margins, precision and recall of an attack.

One folder `evaluation/<row>` per row of the leaderboard, and `leaderboard` with the table and the verdicts as text.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from tensorboard.compat.proto.event_pb2 import Event

from raybench.metrics.functions import signals
from raybench.report.leaderboard import Leaderboard
from raybench.report.predicted_classes import split_files
from raybench.storage import events
from raybench.storage.predicted_arrays import labels_of, matrix
from raybench.storage.report_schemas import LEADERBOARD_METRICS
from raybench.storage.store import Store, fingerprint
from raybench.storage.tensorboard import keep_only, write_missing

COLUMNS = ("rank", "gap", "memory_value", "forget_gap", "utility_gap", "relative_cost", *LEADERBOARD_METRICS)
LOG_LOSS = "log10_loss"
SIGNALS = {
    LOG_LOSS: "Decimal logarithm of the cross-entropy of each sample: memorized samples are far to the left. One step "
    "per model of the row (seed). A method that forgot has the losses of the retrained models on `forget`. Values "
    "outside the axis are counted in the first and last bin.",
    "margin": "Logit of the label minus the largest other: negative where the prediction is wrong. One step per model "
    "of the row (seed). Values outside the axis are counted in the first and last bin.",
}
MEMBERSHIP = (
    "Attack that calls a forget sample a member if its loss is below a threshold; non-members are unseen samples. Both "
    "groups weigh the same, so a precision of 0.5 is chance. Mean over the models of the row. A method that forgot "
    "follows the retrained models, not the original."
)
NUM_BINS, NUM_THRESHOLDS, NUM_MODELS = 60, 201, 8  # a large population adds nothing to the picture
RETAIN_SAMPLES = 10_000
SMALLEST_LOSS = 1e-12

Losses = Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]  # by signal, model and split


def write_evaluation(store: Store, name: str, board: Leaderboard, models: pd.DataFrame, markdown: str) -> None:
    """Write the folders of the evaluation of a run; those that are complete are left alone.

    `models`: the table of the run; `markdown`: its `report.md`.
    """
    root = f"{name}/tensorboard"
    samples_key = f"{name}/tables/samples.parquet"
    has_samples = store.exists(samples_key)
    leaderboard = board.to_table().to_pandas()
    rows = {
        row.name: models.loc[(models["kind"] == row.kind) & (models["method"] == row.name), "model"].tolist()
        for row in board.rows
    }
    shown = {row: ids[:NUM_MODELS] for row, ids in rows.items()}
    version = fingerprint(2, json.loads(leaderboard.to_json(orient="records")), rows)[:8]
    per_sample: Losses | None = None

    def of_row(row: str) -> Iterable[Event]:
        nonlocal per_sample
        record = leaderboard[leaderboard["method"] == row].iloc[0]
        values = {f"leaderboard/{column}": record[column] for column in COLUMNS}
        yield events.scalars(0, {tag: float(value) for tag, value in values.items() if pd.notna(value)})
        if has_samples:
            if per_sample is None:  # read once, and not at all if every folder is complete
                samples = store.read_table(samples_key)
                per_sample = _per_sample(store, name, samples, [model for ids in shown.values() for model in ids])
            yield from _histograms(per_sample, shown[row])
            yield from _attack(per_sample[LOG_LOSS], shown[row])

    folders = {row: (version, lambda row=row: of_row(row)) for row in rows}
    write_missing(store, f"{root}/evaluation", folders)
    keep_only(store, f"{root}/evaluation", folders)
    text = "\n## ".join(markdown.split("\n## ")[:2])  # the leaderboard and the verdicts
    board_version = fingerprint(1, text)[:8]
    write_missing(store, root, {"leaderboard": (board_version, lambda: [events.text("leaderboard", text)])})


def _per_sample(store: Store, name: str, samples: pa.Table, models: Sequence[str]) -> Losses:
    """Return finite losses and margins by model and split; retain samples come from the predictions."""
    frame = samples.select(["model", "split", "loss", "margin"]).to_pandas()
    frame[LOG_LOSS] = _log10(frame["loss"].to_numpy(dtype=np.float64))
    values: dict[str, dict[str, dict[str, np.ndarray]]] = {
        signal: {model: {} for model in models} for signal in SIGNALS
    }
    for (model, split), group in frame[frame["model"].isin(models)].groupby(["model", "split"], sort=False):
        for signal in SIGNALS:
            values[signal][model][split] = _finite(group[signal].to_numpy(dtype=np.float64))
    for model, files in split_files(store, name, "predictions", "retain").items():
        if model in values[LOG_LOSS] and (first := [key for key in files if key.endswith("-0.parquet")]):
            predictions = store.read_table(first[0]).slice(0, RETAIN_SAMPLES)
            if predictions["logits"].null_count:
                continue
            logits, labels = matrix(predictions["logits"]), labels_of(predictions)
            if np.isfinite(logits).all():
                values[LOG_LOSS][model]["retain"] = _log10(signals.loss(logits, labels))
                if labels.ndim == 1:
                    values["margin"][model]["retain"] = signals.margin(logits, labels)
    for model, files in split_files(store, name, "signals", "retain").items():
        if model in values[LOG_LOSS]:
            stored = store.read_table(files[0], columns=["loss", "margin"]).slice(0, RETAIN_SAMPLES).to_pandas()
            values[LOG_LOSS][model]["retain"] = _log10(_finite(stored["loss"].to_numpy(dtype=np.float64)))
            values["margin"][model]["retain"] = _finite(stored["margin"].to_numpy(dtype=np.float64))
    return values


def _log10(losses: np.ndarray) -> np.ndarray:
    logarithms: np.ndarray = np.log10(np.maximum(losses, SMALLEST_LOSS))
    return logarithms


def _finite(values: np.ndarray) -> np.ndarray:
    finite: np.ndarray = values[np.isfinite(values)]
    return finite


def _histograms(per_sample: Losses, models: Sequence[str]) -> Iterable[Event]:
    for signal, description in SIGNALS.items():
        everything = [values for splits in per_sample[signal].values() for values in splits.values() if len(values)]
        if not everything:
            continue
        low, high = np.quantile(np.concatenate(everything), [0.005, 0.995])
        edges = np.linspace(low, max(high, low + 1e-6), NUM_BINS + 1)
        for step, model in enumerate(models):
            for split, values in per_sample[signal][model].items():
                if len(values):
                    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
                    yield events.histogram(step, f"{signal}/{split}", counts, edges, description)


def _attack(losses: Mapping[str, Mapping[str, np.ndarray]], models: Sequence[str]) -> Iterable[Event]:
    """Yield the precision-recall curve of the loss threshold attack, mean rates over the models."""
    rates = [
        attack_rates(splits["forget"], splits["unseen"])
        for splits in (losses[model] for model in models)
        if len(splits.get("forget", ())) and len(splits.get("unseen", ()))
    ]
    if rates:
        true_positive, false_positive = np.mean(rates, axis=0)
        yield events.precision_recall("membership/forget_or_unseen", true_positive, false_positive, MEMBERSHIP)


def attack_rates(forget: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Return the true and false positive rates (2, T) of "member if the loss is at most t".

    The thresholds fall from the largest to the smallest loss and are evenly spaced among the sorted losses, since
    memorized samples share a narrow range of losses.
    """
    together = np.sort(np.concatenate([forget, unseen]))
    positions = np.linspace(len(together) - 1, 0, NUM_THRESHOLDS).round().astype(int)
    thresholds = together[positions]
    return np.stack([np.searchsorted(np.sort(part), thresholds, side="right") / len(part) for part in (forget, unseen)])
