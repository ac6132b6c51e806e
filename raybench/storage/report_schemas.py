"""Schemas of the tables that the report adds to a run: the leaderboard, and the reported results of the paper."""

import pyarrow as pa

from raybench.storage.columns import FLAG, KIND, MATCH, REAL, TEXT, WHOLE, column

# the metric columns of the leaderboard, in its order; a run has either the gaps to retrained models or those to ideals
_FORGET = "on forget samples"
_METRICS = {
    "UA": ("unlearning accuracy: 1 - accuracy on forget samples", "fraction", "0 to 1", MATCH),
    "RA": ("retain accuracy", "fraction", "0 to 1", MATCH),
    "TA": ("test accuracy", "fraction", "0 to 1", MATCH),
    "FA_TA": ("accuracy on forget minus test samples; without retrained models", "fraction", "-1 to 1", "near 0"),
    "MIA_AUC": (
        "AUC of a membership inference attack, forget against unseen samples; 0.5 = chance",
        "AUC",
        "0 to 1",
        MATCH,
    ),
    "MG": (
        "conformal coverage of forget minus test samples; without retrained models",
        "fraction",
        "-1 to 1",
        "near 0",
    ),
    "CR_f": (f"conformal ratio {_FORGET}: coverage over mean set size", "ratio", "0 to 1", MATCH),
    "k_NN_f": (f"accuracy of the nearest retain samples by features, {_FORGET}", "fraction", "0 to 1", MATCH),
    "CKA_f": (
        f"similarity of features to retrained models, centered kernel alignment, {_FORGET}",
        "similarity",
        "-1 to 1",
        MATCH,
    ),
}
LEADERBOARD_METRICS = tuple(_METRICS)
_POINTS = "percentage points"
_MEMORY = "fraction of the original's memory"


def _metric_columns(name: str) -> list[pa.Field]:
    text, unit, values, direction = _METRICS[name]
    return [
        column(name, REAL, f"{text}; mean over models", unit=unit, values=values, direction=direction),
        column(
            f"{name}_half_width",
            REAL,
            "half-width of its 95 % interval; null where all models agree",
            unit=unit,
            values="0 and above",
        ),
        column(f"{name}_n", WHOLE, "models with a value", values="0 and above"),
        column(f"{name}_gap", REAL, "value - mean of the retrained models, or - ideal", unit=unit, direction="near 0"),
        column(
            f"{name}_gap_low",
            REAL,
            "lower end of its interval at the level of the *, so without 0 where a * is shown",
            unit=unit,
        ),
        column(f"{name}_gap_high", REAL, "upper end of it", unit=unit),
        column(f"{name}_distance", REAL, "mean over models of the absolute gap", unit=unit, direction="lower"),
        column(
            f"{name}_distinguishable",
            FLAG,
            "whether the gap is significant at 5 % over all columns (Bonferroni): the * of the leaderboard; null "
            "without a gap",
        ),
        column(f"{name}_reason", TEXT, "why there is no value"),
    ]


# one row per row of the leaderboard, in its order; written with the report
LEADERBOARD = pa.schema(
    [
        column("method", TEXT, "the key under `methods:`; `retrained` and `original` for these rows"),
        KIND,
        column("rank", WHOLE, "rank by `gap`; null if not ranked", values="1 and above", direction="lower"),
        column(
            "rank_low",
            WHOLE,
            "best rank that the originals (with one original: its seeds) do not rule out, 95 %, family-wise over all "
            "methods; null with one run per method, and for a method that lacks an original",
            values="1 and above",
        ),
        column("rank_high", WHOLE, "worst rank that they do not rule out", values="1 and above"),
        column(
            "pareto",
            WHOLE,
            "front of (forget_gap, utility_gap, relative_cost): 1 = no other method is better in all three; null if "
            "one is missing",
            values="1 and above",
            direction="lower",
        ),
        column(
            "conclusion",
            TEXT,
            "verdict; null for the retrained models and the original",
            values="forgotten, remembers, no difference, withheld, failed",
        ),
        column(
            "memory_value",
            REAL,
            "residual memory: 0 as retrained models, 1 as the original",
            unit=_MEMORY,
            values="about 0 to 1; noise may exceed both",
            direction=MATCH,
        ),
        column("memory_low", REAL, "one-sided 95 % lower bound of the residual memory", unit=_MEMORY),
        column("memory_high", REAL, "one-sided 95 % upper bound of the residual memory", unit=_MEMORY),
        column("memory_detectable", REAL, "smallest residual memory whose lower bound is above 0", unit=_MEMORY),
        column(
            "memory_denied",
            REAL,
            "forget samples of which the models are less confident than 99 % of retrained models would be, beyond "
            "that fraction in retrained models",
            unit="fraction of the forget set",
            direction="near 0",
        ),
        column("memory_denied_low", REAL, "one-sided 99 % lower bound of it", unit="fraction of the forget set"),
        column("memory_reason", TEXT, "why there is no residual memory"),
        column("ranked_by", TEXT, "metric that `gap` is the mean of", values="average_gap, gap_to_ideal"),
        column(
            "gap",
            REAL,
            "mean absolute gap of UA, RA, TA and MIA AUC to the retrained mean; of the retrained row: noise floor; "
            "without retrained models: of FA-TA, RA, TA and MIA AUC to their ideals",
            unit=_POINTS,
            values="0 to 100",
            direction="lower",
        ),
        column("gap_low", REAL, "lower end of its 95 % interval", unit=_POINTS, values="0 and above"),
        column("gap_high", REAL, "upper end of its 95 % interval", unit=_POINTS),
        column("gap_half_width", REAL, "half-width of its 95 % interval", unit=_POINTS, values="0 and above"),
        column("n", WHOLE, "models", values="0 and above"),
        column("forget_gap", REAL, "mean distance over the memory columns", unit=_POINTS, direction="lower"),
        column("utility_gap", REAL, "mean distance over the utility columns", unit=_POINTS, direction="lower"),
        column(
            "relative_cost",
            REAL,
            "cost of unlearning, mean over models",
            unit="fraction of one retraining",
            values="0 and above",
            direction="lower",
        ),
        column("passes", FLAG, "whether a method has a value in every column and none of the findings below"),
        column("remembers", pa.list_(TEXT), "columns in which the model still remembers"),
        column("over_forgot", pa.list_(TEXT), "columns in which the model knows less than retrained models"),
        column("lost_utility", pa.list_(TEXT), "columns in which utility is lower than that of retrained models"),
        column("features_differ", pa.list_(TEXT), "columns in which features differ from those of retrained models"),
        column("not_measured", pa.list_(TEXT), "columns without a value in which the original has one"),
        column("failed", FLAG, "whether no trial produced a model"),
        column("no_better_than_original", FLAG, "whether the gap is not significantly smaller than the original's"),
        column("status_reason", TEXT, "why the method failed, or why a run stopped early"),
        column("advice", TEXT, "what to do about a method that is no better than the original"),
        column("reason", TEXT, "why there is no gap"),
        *(field for name in LEADERBOARD_METRICS for field in _metric_columns(name)),
    ]
)


def _protocol_columns(protocol: str) -> list[pa.Field]:
    return [
        column(
            protocol, REAL, f"mean over the models of a run that follows the {protocol} protocol", unit="of the row"
        ),
        column(f"{protocol}_low", REAL, "lower end of its 95 % interval", unit="of the row"),
        column(f"{protocol}_high", REAL, "upper end of its 95 % interval", unit="of the row"),
        column(f"{protocol}_n", WHOLE, "models", values="0 and above"),
        column(f"{protocol}_run", TEXT, "name of that run"),
        column(f"{protocol}_reason", TEXT, "why there is no value"),
    ]


# for a run whose experiment names a table of reported results: one row per reported number, then one per number that
# only the run has; written with the report
REPORTED = pa.schema(
    [
        column("paper_table", TEXT, "table of reported results, as in `raybench list tables`"),
        column("source", TEXT, "paper"),
        column("place", TEXT, "table or notebook of the paper; null for numbers that are not reported"),
        column("dataset", TEXT, "data set of the paper"),
        column("setting", TEXT, "setting of the paper's experiment"),
        column("method", TEXT, "original, retrained, or the name of the method in raybench; empty if not stated"),
        column("method_reported", TEXT, "name of the method in the paper"),
        column("preset_or_variant", TEXT, "settings of the method in the paper, as a JSON object"),
        column("metric", TEXT, "name of the metric in raybench; `derived`: none"),
        column("metric_reported", TEXT, "name of the metric in the paper"),
        column("split", TEXT, "role that the metric is computed on"),
        column("metric_setting", TEXT, "settings of the metric, `population`, or empty"),
        column("unit", TEXT, "unit of the paper"),
        column("reported", REAL, "the reported number; percentages as fractions", unit="of the row"),
        column("reported_text", TEXT, "the reported number as the paper has it"),
        column("consistent", FLAG, "false: `note` says what the reported number contradicts"),
        column("note", TEXT, "remark on the reported number"),
        *(field for protocol in ("released", "corrected") for field in _protocol_columns(protocol)),
        column("difference", REAL, "reported - released", unit="of the row", direction="near 0"),
    ]
)
