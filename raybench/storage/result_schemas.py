"""Schemas of the tables of what was measured: metrics, residual memory, exposure, single samples."""

import pyarrow as pa

from raybench.storage.columns import (
    FLAG,
    ID,
    KIND,
    MATCH,
    METHOD,
    MODEL,
    REAL,
    SEED,
    TEXT,
    WHOLE,
    column,
)

METRICS = pa.schema(
    [
        MODEL,
        column("name", TEXT, "readable name of the model, as in `models`"),
        column(
            "kind",
            TEXT,
            "what the model is; population: all models of a method together",
            values="original, retrained, unlearned, population",
        ),
        METHOD,
        SEED,
        column(
            "original",
            WHOLE,
            "number of the original that metrics compare the model with; 0 for retrained models",
            values="0 and above",
        ),
        column("split", TEXT, "role that the metric is computed on; null for metrics of the whole model"),
        column("metric", TEXT, "name of the metric; `raybench list metrics` and docs/metrics.md describe each"),
        column("setting", TEXT, "settings of the metric, such as `alpha=0.05`; empty for the defaults"),
        column("value", REAL, "the value; null if it is undefined", unit="of the metric; accuracies are fractions"),
        column("low", REAL, "lower end of the 95 % confidence interval over samples", unit="of the metric"),
        column("high", REAL, "upper end of the 95 % confidence interval over samples", unit="of the metric"),
        column("n", WHOLE, "samples, or what the interval counts", values="0 and above"),
        column("interval", TEXT, "how low and high were computed, or why there are none"),
        column("reference", TEXT, "models that the metric reads besides its own; null for none"),
        column(
            "protocol",
            TEXT,
            "corrected, or as in the released code of a paper, bugs included; never rank across protocols",
            values="corrected, released",
        ),
        column(
            "direction",
            TEXT,
            "what a good value is: that of retrained models, a high one, a low one",
            values="match, raise, lower",
        ),
        column(
            "gap",
            REAL,
            "value - mean of the retrained models; for a retrained model: minus the mean of the others (noise floor)",
            unit="of the metric",
            direction="near 0",
        ),
        column("gap_low", REAL, "lower end of the 95 % interval of the gap", unit="of the metric"),
        column("gap_high", REAL, "upper end of the 95 % interval of the gap", unit="of the metric"),
        column("gap_n", WHOLE, "retrained models that the gap refers to", values="1 and above"),
        column("gap_interval", TEXT, "how gap_low and gap_high were computed, or why there are none"),
        column("reason", TEXT, "why there is no value"),
        column(
            "by_retrained",
            pa.list_(REAL),
            "the values whose mean is `value`, one per retrained model, null for a model and itself; null for metrics "
            "that do not compare with single retrained models",
            unit="of the metric",
        ),
    ]
)

READINGS = {
    "samples": "by the score that finds few samples that are kept fully",
    "confidence": "by the score that finds a little memory of every sample",
}
NUMBERS = {
    "value": "residual memory: 0 as retrained models, 1 as the original",
    "low": "one-sided 95 % lower bound of the residual memory",
    "high": "one-sided 95 % upper bound of the residual memory",
    "detectable": "smallest residual memory whose lower bound is above 0",
}
UNIT = "fraction of the original's memory"
RANGE = "about 0 to 1; noise may exceed both"

MEMORY = pa.schema(
    [
        METHOD,
        KIND,
        *(column(name, REAL, text, unit=UNIT, values=RANGE, direction=MATCH) for name, text in NUMBERS.items()),
        *(
            column(f"{reading}_{name}", REAL, f"{text}; {how}", unit=UNIT, values=RANGE, direction=MATCH)
            for reading, how in READINGS.items()
            for name, text in NUMBERS.items()
        ),
        column(
            "denied",
            REAL,
            "forget samples of which the models are less confident than 99 % of retrained models would be, beyond "
            "that fraction in retrained models",
            unit="fraction of the forget set",
            direction="near 0",
        ),
        column("denied_low", REAL, "one-sided 99 % lower bound of `denied`", unit="fraction of the forget set"),
        column("n", WHOLE, "forget samples", values="1 and above"),
        column("runs", WHOLE, "models that were judged together", values="1 and above"),
        column("retrained", WHOLE, "retrained models of the run", values="0 and above"),
        column("originals", WHOLE, "originals of the run", values="1 and above"),
        column("reason", TEXT, "why there is no value"),
    ]
)

EXPOSURE = pa.schema(
    [
        METHOD,
        ID,
        column(
            "exposure",
            REAL,
            "posterior probability that the models were trained on the sample, at a prior of 2 %, mean over runs",
            unit="probability",
            values="0 to 1",
            direction=MATCH,
        ),
        column(
            "confidence",
            REAL,
            "log-odds of the true label, mean over runs",
            unit="nats",
            direction=MATCH,
        ),
        column("original_confidence", REAL, "the same, mean over the originals", unit="nats"),
        column("retrained_confidence", REAL, "the same, mean over the retrained models", unit="nats"),
    ]
)

SAMPLES = pa.schema(
    [
        MODEL,
        column("original", WHOLE, "as in `metrics`; null for a population", values="0 and above"),
        column("split", TEXT, "role of the sample", values="forget, test, unseen"),
        ID,
        column("loss", REAL, "cross-entropy of the true label", unit="nats", values="0 and above", direction=MATCH),
        column(
            "margin",
            REAL,
            "logit of the true class minus the largest other; null for data with several labels per sample",
            unit="logits",
            direction=MATCH,
        ),
        column("attack_score", REAL, "-loss; high means that the attack says member", unit="nats", direction=MATCH),
        column("alpha", REAL, "miscoverage of the prediction set: the first of `evaluate.alphas`", values="0 to 1"),
        column("in_prediction_set", FLAG, "whether the conformal prediction set contains the true label"),
        column("neighbors_right", FLAG, "whether the 5 nearest retain samples, by features, vote for the true label"),
        column(
            "epsilon",
            REAL,
            "per-sample privacy loss between unlearned and retrained models; null without a population of models",
            unit="nats",
            values="0 and above",
            direction="lower",
        ),
    ]
)
