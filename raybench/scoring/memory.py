"""Residual memory of every model and of every method, and the exposure of each forget sample, from stored losses.

The definition and the statistics are in `metrics.functions.residual_memory`; this module chooses which models are
compared. A method's runs are judged together, each against the originals that it did not start from. Every retrained
model is judged by the others, every original by the others.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raybench.metrics.functions.residual_memory import Reading, ResidualMemory, residual_memory, scaled_confidence

if TYPE_CHECKING:
    import pandas as pd

METRIC = "residual_memory"
INTERVAL = "two one-sided 95 % bounds, t over retrained models and originals"
NUMBERS = ("value", "low", "high", "detectable")
Row = dict[str, Any]


class Audits:
    """The scaled confidences of all models on the forget samples, and the audits that compare them."""

    def __init__(self, models: Sequence[Mapping[str, Any]], losses: "pd.DataFrame", groups: Mapping[int, int] | None):
        """`models`: identities (model, name, kind, method, seed, original); `losses`: columns model, id, loss.

        `groups`: the identity of each sample if identities are forgotten as a whole, else None.
        """
        table = losses.pivot(index="model", columns="id", values="loss")
        self.ids = table.columns.to_numpy(dtype=np.int64)
        self._units = None if groups is None else np.array([groups[int(i)] for i in self.ids])
        complete = table.dropna()  # a diverged model has no losses
        self._signals = {str(model): scaled_confidence(row) for model, row in zip(complete.index, complete.to_numpy())}
        self._models = [model for model in models if model["model"] in self._signals]
        self._originals = sorted(self._of("original"), key=lambda model: int(model["original"]))
        self._retrained = self._of("retrained")
        self._known: dict[tuple[str, ...], ResidualMemory | str] = {}

    def _of(self, kind: str) -> list[Mapping[str, Any]]:
        return [model for model in self._models if model["kind"] == kind]

    def audit(self, runs: Sequence[Mapping[str, Any]]) -> ResidualMemory:
        """Return the residual memory of runs that are judged together; raise ValueError where it is undefined."""
        keys = {run["model"] for run in runs}
        numbers = [int(model["original"]) for model in self._originals]
        starts = [-1 if run["kind"] == "retrained" else numbers.index(int(run["original"])) for run in runs]
        return residual_memory(
            self._stack(runs),
            self._stack([model for model in self._retrained if model["model"] not in keys]),
            self._stack(self._originals),
            starts=starts,
            units=self._units,
        )

    def _stack(self, models: Sequence[Mapping[str, Any]]) -> np.ndarray:
        return np.array([self._signals[model["model"]] for model in models]).reshape(len(models), len(self.ids))

    def _attempt(self, runs: Sequence[Mapping[str, Any]]) -> ResidualMemory | str:
        """Return the audit, or the reason why there is none."""
        key = tuple(str(run["model"]) for run in runs)
        if key not in self._known:
            try:
                self._known[key] = self.audit(runs)
            except ValueError as error:
                self._known[key] = str(error)
        return self._known[key]

    def _methods(self) -> dict[str, list[Mapping[str, Any]]]:
        """Return the originals and the runs of each method, by name."""
        runs = {"original": self._originals}
        for model in self._of("unlearned"):
            runs.setdefault(str(model["method"]), []).append(model)
        return runs

    def metric_rows(self) -> list[Row]:
        """Return the rows of `metrics` for every single model: the residual memory and its two readings."""
        rows = []
        for model in self._models:
            identity = {key: model[key] for key in ("model", "name", "kind", "method", "seed", "original")}
            base = {
                **identity,
                "split": "forget",
                "setting": "",
                "reference": "retrained",
                "protocol": "corrected",
                "direction": "match",
            }
            result = self._attempt([model])
            if isinstance(result, str):
                rows.append({**base, "metric": METRIC, "reason": result})
                continue
            parts: dict[str, ResidualMemory | Reading] = {f"_{name}": part for name, part in result.readings.items()}
            for suffix, part in {"": result, **parts}.items():
                values = {"value": part.value, "low": part.low, "high": part.high}
                rows.append({**base, "metric": METRIC + suffix, **values, "n": len(self.ids), "interval": INTERVAL})
        return rows

    def memory_rows(self) -> list[Row]:
        """Return the rows of `memory`: one for the retrained models, one for the originals, one per method."""
        rows = [self._single("retrained", self._retrained)] if self._retrained else []
        return rows + [self._row(name, runs, self._attempt(runs)) for name, runs in self._methods().items() if runs]

    def _single(self, method: str, models: Sequence[Mapping[str, Any]]) -> Row:
        """Return the mean over audits of one model each: what such an audit says of a model of this kind."""
        results = [self._attempt([model]) for model in models]
        row = self._row(method, models, results[0])
        audits = [result for result in results if isinstance(result, ResidualMemory)]
        if len(audits) == len(results):
            import pandas as pd  # late: a plan needs only the code of this module

            numbers = pd.DataFrame([_numbers(audit) for audit in audits])
            row |= {name: float(np.mean(numbers[name])) for name in numbers}
        return row

    def _row(self, method: str, runs: Sequence[Mapping[str, Any]], result: ResidualMemory | str) -> Row:
        row: Row = {
            "method": method,
            "kind": runs[0]["kind"],
            "runs": len(runs),
            "retrained": len(self._retrained),
            "originals": len(self._originals),
            "n": len(self.ids),
        }
        if isinstance(result, str):
            return {**row, "reason": result}
        return {**row, **_numbers(result)}

    def exposure_rows(self) -> list[Row]:
        """Return the rows of `exposure`: one per method and forget sample."""
        retrained, originals = self._stack(self._retrained), self._stack(self._originals)
        rows = []
        for method, runs in {"retrained": self._retrained, **self._methods()}.items():
            audits = [self._attempt([run]) for run in runs] if method == "retrained" else [self._attempt(runs)]
            exposures = [audit.exposure for audit in audits if isinstance(audit, ResidualMemory)]
            if len(exposures) < len(audits) or not exposures:
                continue
            exposure = np.mean(exposures, axis=0)
            confidence = self._stack(runs).mean(axis=0)
            columns = (self.ids, exposure, confidence, originals.mean(axis=0), retrained.mean(axis=0))
            names = ("id", "exposure", "confidence", "original_confidence", "retrained_confidence")
            rows += [{"method": method, **dict(zip(names, values))} for values in zip(*(c.tolist() for c in columns))]
        return rows


def _numbers(audit: ResidualMemory) -> dict[str, float]:
    """Return the columns of an audit: its own values, and those of its two readings."""
    parts: dict[str, ResidualMemory | Reading] = {f"{name}_": reading for name, reading in audit.readings.items()}
    columns = {prefix + name: getattr(part, name) for prefix, part in {"": audit, **parts}.items() for name in NUMBERS}
    return {**columns, "denied": audit.denied, "denied_low": audit.denied_low}
