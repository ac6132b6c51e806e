"""Compare what an experiment asks for with what the machine or cluster has; Ray itself would wait without a word."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from raybench.config.schema import Experiment
from raybench.errors import CONTINUE, LostError, UserError

POLL_SECONDS = 5.0
TITLES = {"CPU": "CPUs", "GPU": "GPUs"}

Amounts = Mapping[str, float]


@dataclass(frozen=True)
class Need:
    """Units of work that run at once, each on one node: one trial, one model, or the workers of one training."""

    what: str
    keys: str  # of the experiment file
    each: Amounts
    count: int = 1

    def fits(self, nodes: Sequence[Amounts]) -> bool:
        """Return whether the nodes, if idle, hold all units at once."""
        places = sum(
            min([int(node.get(name, 0) / amount + 1e-9) for name, amount in self.each.items() if amount > 0] or [1])
            for node in nodes
        )
        return places >= self.count

    def __str__(self) -> str:
        amounts = " and ".join(f"{amount:g} {TITLES[name]}" for name, amount in self.each.items() if amount > 0)
        return f"{self.what} {'each need' if self.count > 1 else 'needs'} {amounts} ({self.keys})"


def needs(experiment: Experiment) -> list[Need]:
    """Return what one trial and one model of the experiment need."""
    resources, workers = experiment.resources, experiment.train.fewest_workers
    models = {"CPU": resources.cpus_per_model, "GPU": resources.gpus_per_model}
    trials = {"CPU": resources.cpus_per_trial, "GPU": resources.gpus_per_trial}
    keys = "resources.cpus_per_model, resources.gpus_per_model"
    training = f"{workers} workers of one training" if workers > 1 else "one model"
    return [
        Need(training, f"{keys}, train.workers" if workers > 1 else keys, models, workers),
        Need("one trial", "resources.cpus_per_trial, resources.gpus_per_trial", trials),
    ]


def unmet(wanted: Sequence[Need], nodes: Sequence[Amounts], where: str) -> str | None:
    """Return a sentence about the first need that the nodes do not meet, or None."""
    need = next((need for need in wanted if not need.fits(nodes)), None)
    if need is None:
        return None
    counts = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes[:3])
    return f"{need}, but {where} has {counts or 'no node'}{' ...' if len(nodes) > 3 else ''}"


def require(
    wanted: Sequence[Need], *, may_grow: bool, report: Callable[[str], None], wait_seconds: float = math.inf
) -> None:
    """Raise UserError if the connected Ray cannot run the experiment.

    Request the missing nodes of a cluster that may grow, which has `wait_seconds` to add them.
    """
    where = "the cluster" if may_grow else "this machine"
    problem = unmet(wanted, _nodes(), where)
    if problem is None:
        return
    if not may_grow:
        raise UserError(f"{problem}. Lower these keys, or join a cluster with --address")
    report(f"waiting      {problem}; giving up in {wait_seconds / 60:g} minutes unless an autoscaler adds nodes")
    _request([dict(need.each) for need in wanted for _ in range(need.count)])
    started = time.monotonic()
    try:
        while (problem := unmet(wanted, _nodes(), where)) is not None:
            if time.monotonic() - started > wait_seconds:
                raise UserError(
                    f"{problem}, and got no larger in {wait_seconds / 60:g} minutes. Lower these keys, or add nodes"
                )
            time.sleep(min(POLL_SECONDS, wait_seconds))
    finally:
        _request([])


class Deadline:
    """The time that a cluster has to replace nodes that it lost while a training runs, or waits for them."""

    def __init__(self, need: Need, wait_seconds: float) -> None:
        self._need, self._wait_seconds = need, wait_seconds
        self._checked = self._met = time.monotonic()

    def check(self) -> None:
        """Raise LostError if the nodes have lacked room for the need for too long; looks every few seconds."""
        now = time.monotonic()
        if now - self._checked < min(POLL_SECONDS, self._wait_seconds):
            return
        self._checked = now
        problem = unmet([self._need], _nodes(), "the cluster")
        if problem is None:
            self._met = now
        elif now - self._met > self._wait_seconds:
            raise LostError(
                f"{problem}, and no node replaced the lost ones in {self._wait_seconds / 60:g} minutes "
                f"(resources.wait_minutes). {CONTINUE}"
            )


def _nodes() -> list[Amounts]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _request(bundles: list[dict[str, float]]) -> None:
    """Ask an autoscaler for room; an empty list withdraws the request. A cluster without one ignores it."""
    from ray.autoscaler.sdk import request_resources

    with suppress(Exception):
        request_resources(bundles=[{name: amount for name, amount in each.items() if amount > 0} for each in bundles])
