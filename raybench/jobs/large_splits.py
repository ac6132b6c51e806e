"""Splits that are too large to be held, and what the prediction pass computes of them."""

import math
from collections.abc import Mapping

from raybench.errors import UserError
from raybench.jobs.sample_rows import sample_table
from raybench.metrics.framework.streaming import Call, streamable
from raybench.scenario.process_cache import ProcessCache
from raybench.scenario.scenario import Scenario
from raybench.scoring import metric_rows, tracing
from raybench.scoring.tracing import ARRAYS, Needs, Refused, Role

PIECE = 65_536  # rows of one file of predictions: small enough to redo, large enough to stream
JACKKNIFE_GROUPS = 20  # every 20th sample of a streamed split: a piece is of one group
SIGNAL_BYTES = 90  # of one sample
KEPT: Mapping[str, tuple[str, ...]] = {"signals": (), "logits": ("logits",), "features": ("logits", "features")}
TRACED: ProcessCache[Needs] = ProcessCache(capacity=4)  # tracing takes a second or more


class LargeSplits:
    """Which splits are streamed, what is computed of them, and which arrays are stored whole all the same."""

    def __init__(self, needs: Needs) -> None:
        self.needs = needs

    def is_streamed(self, role: str) -> bool:
        return any((role, array) in self.needs.streamed for array in ARRAYS)

    def kept(self, role: str) -> tuple[str, ...]:
        """Return which of logits and features are stored whole."""
        return tuple(array for array in ARRAYS if (role, array) not in self.needs.streamed)

    def calls(self, role: str) -> tuple[Call, ...]:
        """Return what is computed of a split in addition to its signals, which are those of streamed logits."""
        signals = (role, "logits") in self.needs.streamed
        return tuple(call for call in self.needs.calls if call.role == role and not (signals and call.is_signal))

    def groups(self, role: str) -> list[tuple[Call, ...]]:
        """Return the calls of a split by reference model and array: what is stored in one file for each piece."""
        by_file: dict[tuple[str | None, str], list[Call]] = {}
        for call in self.calls(role):
            by_file.setdefault((call.reference, call.streamed[0][1].array), []).append(call)
        return [tuple(calls) for calls in by_file.values()]

    @property
    def refused(self) -> tuple[Refused, ...]:
        """Return the metrics that need a streamed array as a whole."""
        return self.needs.refused


def large_splits(scenario: Scenario) -> LargeSplits:
    """Return the streamed splits of an experiment; none if no split is above `evaluate.stream_above`."""
    evaluate = scenario.experiment.evaluate
    streamed = frozenset(
        (role, array)
        for role in scenario.roles
        if len(scenario.role_ids(role)) > evaluate.stream_above
        for array in ARRAYS
        if array not in KEPT[evaluate.keep.get(role, "signals")]
    )
    if not streamed:
        return LargeSplits(Needs(streamed, (), ()))
    key = (scenario.store.uri, scenario.data_key, scenario.splits_key, scenario.request, evaluate.model_dump_json())
    return LargeSplits(TRACED.get(key, lambda: _traced(scenario, streamed)))


def _traced(scenario: Scenario, streamed: frozenset[tuple[str, str]]) -> Needs:
    images, evaluate = scenario.data(), scenario.experiment.evaluate

    def role(name: str) -> Role:
        of = scenario.downstream[name].images(scenario.store) if name in scenario.downstream else images
        return Role.of(scenario.role_ids(name), lambda ids: of.labels[ids])

    chosen = metric_rows.chosen_metrics(evaluate.metrics, downstream=bool(scenario.downstream))
    return tracing.needs(
        chosen,
        evaluate.alphas,
        {name: role(name) for name in scenario.roles},
        streamed,
        num_classes=images.num_classes,
        groups=images.groups,
        class_names=images.class_names,
        downstream=tuple(scenario.downstream),
        others=[lambda read: sample_table("model", lambda split: read("model", split), evaluate.alphas[0])],
    )


def stored_bytes(scenario: Scenario, role: str, width: int) -> int:
    """Return about how much is stored of one model's predictions on a split; `width`: of its features."""
    large, size = large_splits(scenario), len(scenario.role_ids(role))
    widths = {"logits": scenario.data().num_classes, "features": width}
    total = 4 * size * sum(widths[array] for array in large.kept(role))
    if (role, "logits") in large.needs.streamed:
        total += SIGNAL_BYTES * size
    pieces = num_pieces(size)
    for call in large.calls(role):
        whole = max((len(scenario.role_ids(source.role)) for _, source in call.whole), default=0)
        of_width = widths[call.streamed[0][1].array]
        states = streamable(call.function).merge.stored(of_width, size, pieces, whole, dict(call.settings))
        total += states * (len(scenario.experiment.train.seeds) if call.reference == "retrained" else 1)
    return total


def num_pieces(samples: int) -> int:
    """Return into how many pieces a streamed split is divided: a multiple of the groups of the jackknife."""
    return JACKKNIFE_GROUPS * math.ceil(samples / (JACKKNIFE_GROUPS * PIECE))


def refusals(scenario: Scenario, width: int) -> list[str]:
    """Return a sentence for each metric that cannot be computed on a large split; raise UserError for a user's own."""
    sizes = {"logits": scenario.data().num_classes, "features": width}
    sentences = []
    for metric, split, (role, array) in large_splits(scenario).refused:
        samples = len(scenario.role_ids(role))
        reads = (
            f"reads the {array} of {role} as a whole: {samples:,} samples, "
            f"{4 * samples * sizes[array] / 1e9:.1f} GB for each model. Compute what it needs in functions decorated "
            f"with row_wise or mergeable (docs/own-metric.md), or set evaluate.keep: {{{role}: {array}}}"
        )
        if "." in metric:
            raise UserError(f"evaluate.metrics: {metric} {reads}")
        where = "is not computed" if split is None else f"is not computed on {split}"
        sentences.append(f"{metric} {where}: it {reads}")
    return sentences
