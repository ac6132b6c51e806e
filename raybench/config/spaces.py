"""Search spaces are data: `{uniform: [a, b]}`, `{loguniform: [a, b]}`, `{randint: [a, b]}`, `{choice: [...]}`."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from raybench.errors import UserError, unknown

Kind = Literal["uniform", "loguniform", "randint", "choice", "fixed"]
KINDS = ("uniform", "loguniform", "randint", "choice")


@dataclass(frozen=True)
class Space:
    """The search space of one hyperparameter; `randint` includes both ends."""

    kind: Kind
    values: tuple[Any, ...]

    @classmethod
    def parse(cls, key: str, value: Any) -> "Space":
        """Read a space from the experiment file; any value but a mapping is fixed."""
        if not isinstance(value, dict):
            return cls("fixed", (value,))
        if len(value) != 1:
            raise UserError(
                f"{key} = {value!r}: a search space has one key and its list (allowed: {', '.join(KINDS)}), for "
                "example {loguniform: [1.0e-4, 0.1]}"
            )
        kind, values = next(iter(value.items()))
        if kind not in KINDS:
            raise unknown(f"search space of {key}:", kind, KINDS)
        if not isinstance(values, list) or not values:
            raise UserError(f"{key}: {kind} takes a list with at least one value, got {values!r}")
        if kind == "choice":
            return cls(kind, tuple(values))
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        if len(values) != 2 or not numbers or not values[0] < values[1]:
            raise UserError(f"{key}: {kind} takes [low, high] with low < high, got {values!r}")
        if kind == "loguniform" and values[0] <= 0:
            raise UserError(f"{key}: loguniform needs low > 0, got {values[0]!r}")
        if kind == "randint" and not all(isinstance(v, int) for v in values):
            raise UserError(f"{key}: randint takes whole numbers, got {values!r}")
        return cls(kind, tuple(values))

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Return the values that must be valid for the whole space to be valid: both ends, or every choice."""
        return self.values if self.kind == "choice" and len(self.values) > 1 else (self.values[0], self.values[-1])

    def identity(self, value: Any) -> Any:
        """Return a hashable value that is equal for equal draws; a choice may be a list."""
        return self.values.index(value) if self.kind in ("choice", "fixed") else value

    def draw(self, random: np.random.Generator) -> Any:
        """Draw one value, as a plain Python object."""
        if self.kind == "fixed":
            return self.values[0]
        if self.kind == "choice":
            return self.values[int(random.integers(len(self.values)))]
        low, high = self.values
        if self.kind == "randint":
            return int(random.integers(low, high + 1))
        if self.kind == "uniform":
            return float(random.uniform(low, high))
        return float(math.exp(random.uniform(math.log(low), math.log(high))))


def draw_settings(spaces: dict[str, Space], *, trials: int, seed: int) -> list[dict[str, Any]]:
    """Draw the settings of all trials at once, so that a resumed sweep runs the same ones; duplicates are dropped."""
    random = np.random.default_rng(seed)
    drawn: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _ in range(trials):
        setting = {key: space.draw(random) for key, space in spaces.items()}
        drawn.setdefault(tuple(space.identity(setting[key]) for key, space in spaces.items()), setting)
    return list(drawn.values())
