"""Schemas of the tables of what was done: samples, models, trials, the search, predictions."""

import pyarrow as pa

from raybench.storage.columns import (
    AUDIT,
    FLAG,
    HYPERPARAMETERS,
    ID,
    KIND,
    LABEL,
    LABELS,
    LEDGER,
    METHOD,
    MODEL,
    REAL,
    SEED,
    TEXT,
    WHOLE,
    column,
)

SPLITS = pa.schema(
    [
        ID,
        column(
            "role",
            TEXT,
            "what the sample is used for",
            values="retain, forget, validation, calibration, test, unseen",
        ),
        column(
            "tuning",
            TEXT,
            "what the sweep uses a retain sample for: its own forget set or its own retain set; null for samples that "
            "only the report uses",
            values="forget, retain",
        ),
        LABEL,
        LABELS,
        column("group", WHOLE, "identity of the sample; null if the data set has none", values="0 and above"),
        column("mislabeled", FLAG, "whether `data.mislabel` changed the label"),
    ]
)

MODELS = pa.schema(
    [
        MODEL,
        column("name", TEXT, "readable name, unique in the run: method and seed"),
        KIND,
        METHOD,
        column("function", TEXT, "the method behind the key; null for trained models"),
        SEED,
        column(
            "original",
            WHOLE,
            "number of the original that the model is, or that it started from; 0 for retrained models",
            values="0 and above",
        ),
        HYPERPARAMETERS,
        column("recipe", TEXT, "training recipe as a JSON object; null for unlearned models and imported checkpoints"),
        column("status", TEXT, "how the run ended", values="finished, stopped, failed"),
        column("reason", TEXT, "why the run stopped early or failed"),
        *AUDIT,
        *LEDGER,
        column(
            "relative_cost",
            REAL,
            "(forward + 2 x backward passes) / those of one retraining; null if unknown",
            unit="fraction of one retraining",
            values="0 and above",
            direction="lower",
        ),
    ]
)

TRIALS = pa.schema(
    [
        column("trial", TEXT, "trial id: a hash of everything that decides the trial", values="16 hex digits"),
        METHOD,
        column(
            "phase",
            TEXT,
            "search: a setting is tried; finalist: the best settings run again; final: the reported runs",
            values="search, finalist, final",
        ),
        SEED,
        column("original", WHOLE, "number of the original that the trial started from", values="0 and above"),
        column("epoch", WHOLE, "epoch of this row, as the method counts them", values="0 and above"),
        HYPERPARAMETERS,
        column("status", TEXT, "how the trial ended", values="finished, stopped, failed"),
        column("reason", TEXT, "why the trial stopped early or failed"),
        column("traceback", TEXT, "Python traceback of a failed trial"),
        column("chosen", FLAG, "whether the trial has the chosen setting, in any phase"),
        column("last", FLAG, "whether this is the last row of the trial; one row per trial has it"),
        column(
            "objective",
            REAL,
            "value of `sweep.objective` after this epoch",
            unit="percentage points for gaps, else fraction",
            direction="lower for gaps, forget_accuracy and mia_auc, else higher",
        ),
        column("budget_trials", WHOLE, "trials that the experiment allows each method", values="1 and above"),
        *AUDIT,
        *LEDGER,
    ]
)

SEARCH = pa.schema(
    [
        METHOD,
        column("objective", TEXT, "name of the objective, `sweep.objective`"),
        column("trials", WHOLE, "number of trials", values="1 and above"),
        column(
            "expected_best",
            REAL,
            "expected objective of the best of that many trials, over all subsets of the trials",
            unit="of the objective",
        ),
        column("chosen_value", REAL, "objective of the chosen setting in its trial", unit="of the objective"),
        column(
            "chosen_again",
            REAL,
            "mean objective of further runs of the chosen setting; null without any",
            unit="of the objective",
        ),
        column("runs_again", WHOLE, "further runs of the chosen setting", values="0 and above"),
    ]
)

PREDICTIONS = pa.schema(
    [
        MODEL,
        column(
            "split",
            TEXT,
            "role of the samples, or downstream set",
            values="retain, forget, validation, calibration, test, unseen, downstream-<name>",
        ),
        ID,
        LABEL,
        LABELS,
        column("logits", pa.list_(pa.float32()), "output of the model, one number per class or label"),
        column("features", pa.list_(pa.float32()), "input of the last linear layer"),
    ]
)

SIGNALS = pa.schema(
    [
        MODEL,
        column("split", TEXT, "split of the sample", values="a role, or downstream-<name>"),
        ID,
        LABEL,
        LABELS,
        column("predicted_class", pa.int32(), "class with the largest logit", values="0 to classes - 1"),
        column(
            "true_rank",
            pa.int32(),
            "rank of the label among the logits; null with several labels",
            values="1 to classes",
        ),
        column(
            "correct_decisions",
            pa.list_(pa.int8()),
            "whether the prediction is right: one number, or one per label",
            values="0, 1",
        ),
        column(
            "decision_confidence",
            pa.list_(pa.float64()),
            "probability of the predicted class, or of the decision on each label",
            values="0 to 1",
        ),
        column("loss", REAL, "cross-entropy; mean over labels", unit="nats", values="0 and above"),
        column("confidence", REAL, "probability of the label; mean over labels", values="0 to 1"),
        column("scaled_confidence", REAL, "log(p / (1 - p)) of the label; mean over labels", unit="logit"),
        column("margin", REAL, "logit of the label minus the largest other; mean over labels", unit="logit"),
        column("correctness", pa.float32(), "fraction of correct labels: 0 or 1 for one label", values="0 to 1"),
        column("entropy", REAL, "entropy of the softmax", unit="nats", values="0 to log(classes)"),
        column(
            "modified_entropy",
            REAL,
            "entropy modified by the label (arXiv 2003.10595); mean over labels",
            values="0 and above",
        ),
    ]
)
