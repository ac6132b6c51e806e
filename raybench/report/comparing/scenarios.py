"""Which runs have comparable numbers, and what tells the others apart.

Runs of one scenario have the same images, the same samples in each role, the same architecture and the same training.
Data and samples are compared by fingerprint, and so are reference models that were trained from the same seed. Runs of
one scenario whose numbers are computed or tuned in another way have different protocols.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raybench.errors import UserError
from raybench.report.comparing.run_summary import RunSummary
from raybench.scoring.binding import get_metric, parameters

# settings that decide the models of a scenario, beside the data; a checkpoint counts by content, seeds do not count
SCENARIO = ("model.", "train.", "data.resize", "data.view", "data.normalize")
NOT_SCENARIO = ("model.checkpoint", "train.seed", "train.retrained_seeds")
# settings that explain another fingerprint of the data or of the roles
DATA = ("data.dataset", "data.options", "data.mislabel", "data.deduplicate", "data.on_corrupt", "data.resize")
ROLES = ("forget.", "data.sizes", "data.seed", "data.mislabel")
PROTOCOL = ("evaluate.margin", "evaluate.train_view", "paper.protocol", "resources.precision")
SHOWN = 6  # differences named in one sentence
MISSING = object()


@dataclass(frozen=True)
class Protocol:
    """Runs whose numbers are comparable, newest first; `apart`: what differs from the first, as `key this/first`."""

    runs: tuple[RunSummary, ...]
    apart: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """Runs of one scenario by protocol. `nearest`: the number of the scenario that it is compared with in `apart`."""

    protocols: tuple[Protocol, ...]
    nearest: int | None = None
    apart: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[RunSummary, ...]:
        return tuple(run for protocol in self.protocols for run in protocol.runs)

    @property
    def title(self) -> str:
        """Return what is forgotten from what, from the settings of the newest run."""
        run = self.runs[0]
        trained = sum(run.sizes.get(role, 0) for role in ("retain", "forget"))
        options = {key: value for key, value in run.settings.items() if key.startswith("forget.")}
        rule = " ".join(str(value) for key, value in options.items() if key != "forget.seed" and value is not None)
        model = str(run.settings.get("model.name"))
        if model == "cnn" and "model.width" in run.settings:
            model += f" of width {run.settings['model.width']}"
        return f"{run.settings.get('data.dataset')}, forget {run.sizes.get('forget', 0)} of {trained} ({rule}), {model}"


def group(runs: Iterable[RunSummary]) -> list[Scenario]:
    """Return the scenarios of the runs: those with most runs first, then the newest."""
    newest = sorted(runs, key=lambda run: (run.started, run.name), reverse=True)
    grouped: list[list[RunSummary]] = []
    for run in newest:
        fitting = (group for group in grouped if not any(scenario_differences(other, run) for other in group))
        found = next(fitting, None)
        if found is None:
            grouped.append([run])
        else:
            found.append(run)
    grouped.sort(key=len, reverse=True)  # stable: the newest first among equally large ones
    scenarios: list[Scenario] = []
    for members in grouped:
        differences = [scenario_differences(members[0], other.runs[0]) for other in scenarios]
        nearest = min(range(len(differences)), key=lambda number: len(differences[number]), default=None)
        scenarios.append(
            Scenario(_protocols(members), nearest, tuple(differences[nearest]) if nearest is not None else ())
        )
    return scenarios


def _protocols(runs: Sequence[RunSummary]) -> tuple[Protocol, ...]:
    grouped: list[list[RunSummary]] = []
    for run in runs:
        fitting = (group for group in grouped if not protocol_differences(group[0], run))
        found = next(fitting, None)
        if found is None:
            grouped.append([run])
        else:
            found.append(run)
    grouped.sort(key=len, reverse=True)
    first = grouped[0][0]
    return tuple(Protocol(tuple(members), tuple(protocol_differences(members[0], first))) for members in grouped)


def scenario_differences(first: RunSummary, second: RunSummary) -> list[str]:
    """Return what tells the scenarios of two runs apart, as `model.width 16/32`; empty if they have the same one."""
    differences = []
    for name, explaining, otherwise in (
        ("data", DATA, "data: other pixels or labels"),
        ("roles", ROLES, "samples of the roles"),
        ("checkpoint", (), "model.checkpoint: another file"),
    ):
        if first.fingerprints[name] != second.fingerprints[name]:
            differences += _setting_differences(first, second, explaining) or [otherwise]
    differences += _setting_differences(first, second, SCENARIO, NOT_SCENARIO)
    differences = list(dict.fromkeys(differences))
    if differences or first.settings.get("resources.threads") != second.settings.get("resources.threads"):
        return differences
    shared = first.references.keys() & second.references.keys()
    if any(first.references[key] != second.references[key] for key in shared):
        return ["models trained from the same seeds: code of the architecture, initial weights or version of raybench"]
    return []


def protocol_differences(first: RunSummary, second: RunSummary) -> list[str]:
    """Return how two runs of one scenario measure or tune differently; empty if their numbers are comparable."""
    pairs = [(name, of(first), of(second)) for name, of in _DERIVED.items()]
    differences = [f"{name} {_text(one)}/{_text(other)}" for name, one, other in pairs if one != other]
    return differences + _setting_differences(first, second, PROTOCOL)


def apart(other: str, differences: Sequence[str]) -> str:
    """Return the sentence that says why two tables do not compare; `other`: the one that comes second in each pair."""
    return f"Not comparable with {other}, differs in: {in_words(differences)}."


def in_words(differences: Sequence[str]) -> str:
    """Return differences as a list of at most six."""
    rest = len(differences) - SHOWN
    return ", ".join(differences[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _columns(run: RunSummary) -> str:
    """Return the columns that the run measured; the mean gap is over them."""
    return " ".join(title for title, cell in run.board.original.cells.items() if cell.n)


def _tuning(run: RunSummary) -> str:
    """Return the request that hyperparameters were tuned on; a run without a search is comparable with the default."""
    return str(run.settings.get("sweep.tuning_request", "separate")) if run.searched else "separate"


def _metric_settings(run: RunSummary) -> dict[str, Any]:
    """Return the settings of metrics that are not their defaults, by `metric.setting`."""
    prefix = "evaluate.metrics."
    settings = {key.removeprefix(prefix): value for key, value in run.settings.items() if key.startswith(prefix)}
    settings = {key: value for key, value in settings.items() if "." in key}
    return {key: value for key, value in sorted(settings.items()) if value != _default(*key.split(".", 1))}


def _default(metric: str, setting: str) -> Any:
    """Return the default of a metric's setting; None for a metric that is not installed here."""
    try:
        return next((item.default for item in parameters(get_metric(metric)) if item.name == setting), None)
    except UserError:
        return None


_DERIVED = {
    "columns": _columns,
    "alpha": lambda run: run.board.alpha,
    "reference": lambda run: run.board.comparison.gap_metric,
    "sweep.tuning_request": _tuning,
    "evaluate.metrics": _metric_settings,
}


def _setting_differences(
    first: RunSummary, second: RunSummary, prefixes: Sequence[str], without: Sequence[str] = ()
) -> list[str]:
    keys = [key for key in dict.fromkeys([*first.settings, *second.settings]) if key.startswith(tuple(prefixes))]
    differences = []
    for key in keys:
        one, other = first.settings.get(key), second.settings.get(key)
        if one != other and not key.startswith(tuple(without) or "\n"):
            differences.append(f"{key} {_text(one)}/{_text(other)}")
    return differences


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "default"
    text = "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
