"""The schemas of the tables that the report adds to a run: the leaderboard, and the reported results of the paper."""

import pyarrow as pa

# the metric columns of the leaderboard, in its order; a run has either the gaps to retrained models or those to ideals
LEADERBOARD_METRICS = ("UA", "RA", "TA", "FA_TA", "MIA_AUC", "MG", "CR_f", "k_NN_f", "CKA_f")

# one row per row of the leaderboard, in its order; written with the report
LEADERBOARD = pa.schema(
    [
        pa.field("method", pa.string()),  # retrained, original, or the key in `methods:`
        pa.field("kind", pa.string()),  # original, retrained, unlearned
        pa.field("rank", pa.int64()),  # by the mean gap; null if not ranked
        # ranks that the originals (with one original: its seeds) do not rule out (95 %, family-wise over all methods);
        # null with one run per method, and for a method that lacks an original
        pa.field("rank_low", pa.int64()),
        pa.field("rank_high", pa.int64()),
        pa.field("pareto", pa.int64()),  # front of (forget_gap, utility_gap, relative_cost); null if one is missing
        pa.field("conclusion", pa.string()),  # forgotten, remembers, no difference, withheld, failed; methods only
        pa.field("memory_value", pa.float64()),  # residual memory: 0 as retrained, 1 as the original
        pa.field("memory_low", pa.float64()),  # one-sided 95 % bounds
        pa.field("memory_high", pa.float64()),
        pa.field("memory_detectable", pa.float64()),  # the smallest value whose lower bound is above 0
        pa.field("memory_denied", pa.float64()),  # share of forget samples that the models deny, unlike retrained ones
        pa.field("memory_denied_low", pa.float64()),  # one-sided 99 % bound
        pa.field("memory_reason", pa.string()),  # why there is no residual memory
        pa.field("ranked_by", pa.string()),  # the metric that `gap` is the mean of: average_gap, gap_to_ideal
        pa.field("gap", pa.float64()),  # points
        pa.field("gap_low", pa.float64()),
        pa.field("gap_high", pa.float64()),
        pa.field("gap_half_width", pa.float64()),
        pa.field("n", pa.int64()),  # models
        pa.field("forget_gap", pa.float64()),  # points: mean distance over the memory columns
        pa.field("utility_gap", pa.float64()),  # points: mean distance over the utility columns
        pa.field("relative_cost", pa.float64()),  # mean over models, of the cost of one retraining
        pa.field("passes", pa.bool_()),  # a method with a value in every column and none of the findings below
        pa.field("remembers", pa.list_(pa.string())),  # columns in which the model still remembers
        pa.field("over_forgot", pa.list_(pa.string())),
        pa.field("lost_utility", pa.list_(pa.string())),
        pa.field("features_differ", pa.list_(pa.string())),
        pa.field("not_measured", pa.list_(pa.string())),  # columns that the original has a value in
        pa.field("failed", pa.bool_()),  # no trial produced a model
        pa.field("no_better_than_original", pa.bool_()),
        pa.field("status_reason", pa.string()),  # why the method failed, or why a run stopped early
        pa.field("advice", pa.string()),  # for a method that is no better than the original
        pa.field("reason", pa.string()),  # why there is no gap
        *(
            field
            for name in LEADERBOARD_METRICS
            for field in (
                pa.field(name, pa.float64()),  # mean over models; percentages are fractions, UA is 1 - accuracy
                pa.field(f"{name}_half_width", pa.float64()),  # of the 95 % interval; null where all models agree
                pa.field(f"{name}_n", pa.int64()),  # models
                pa.field(f"{name}_gap", pa.float64()),  # signed, to the retrained mean or to the ideal
                # interval at the level of the *: Bonferroni over the columns, so it excludes 0 where a * is shown
                pa.field(f"{name}_gap_low", pa.float64()),
                pa.field(f"{name}_gap_high", pa.float64()),
                pa.field(f"{name}_distance", pa.float64()),  # mean over models of |gap|
                pa.field(f"{name}_distinguishable", pa.bool_()),  # the * of the leaderboard; null without a gap
                pa.field(f"{name}_reason", pa.string()),  # why there is no value
            )
        ),
    ]
)

# for a run whose experiment names a table of reported results: one row per reported number, then one per number that
# only the run has; written with the report
REPORTED = pa.schema(
    [
        pa.field("paper_table", pa.string()),  # as in `raybench list tables`
        pa.field("source", pa.string()),
        pa.field("place", pa.string()),  # table or notebook; null for numbers that are not reported
        pa.field("dataset", pa.string()),
        pa.field("setting", pa.string()),  # of the paper's experiment
        pa.field("method", pa.string()),  # original, retrained, or the method's name in raybench; empty if not stated
        pa.field("method_reported", pa.string()),
        pa.field("preset_or_variant", pa.string()),  # JSON
        pa.field("metric", pa.string()),  # `derived`: no metric of raybench
        pa.field("metric_reported", pa.string()),
        pa.field("split", pa.string()),
        pa.field("metric_setting", pa.string()),  # "alpha=0.05", "population", or empty
        pa.field("unit", pa.string()),
        pa.field("reported", pa.float64()),  # percentages as fractions
        pa.field("reported_text", pa.string()),  # the original text
        pa.field("consistent", pa.bool_()),  # false: `note` says what the reported number contradicts
        pa.field("note", pa.string()),
        *(
            field
            for protocol in ("released", "corrected")
            for field in (
                pa.field(protocol, pa.float64()),  # mean over the models
                pa.field(f"{protocol}_low", pa.float64()),
                pa.field(f"{protocol}_high", pa.float64()),
                pa.field(f"{protocol}_n", pa.int64()),  # models
                pa.field(f"{protocol}_run", pa.string()),
                pa.field(f"{protocol}_reason", pa.string()),  # why there is no value
            )
        ),
        pa.field("difference", pa.float64()),  # reported - released
    ]
)
