"""What training and search leave in the store: records, the chosen settings, the audits that a search aims at."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from raybench.engine.audit import Audit, better, objective, reference
from raybench.jobs.plan import final_jobs, finalist_jobs, reference_jobs, search_jobs, train_jobs
from raybench.jobs.records import AuditedRecord, TrialRecord
from raybench.jobs.specs import SearchJob, TrainJob, TrialJob
from raybench.jobs.train import read_record
from raybench.scenario.scenario import Scenario

STATUSES = ("finished", "stopped", "failed")  # from best to worst


@dataclass(frozen=True)
class Trained:
    """The originals and the retrained models; records are read when they are first needed."""

    scenario: Scenario

    @cached_property
    def jobs(self) -> list[TrainJob]:
        return train_jobs(self.scenario)

    @cached_property
    def records(self) -> list[AuditedRecord]:
        return [read_record(self.scenario, job) for job in self.jobs]

    @property
    def imported_audits(self) -> dict[str, Audit]:
        """Return the audits of the originals and retrained models that the user provides, by file."""
        pairs = zip(self.jobs, self.records)
        return {job.checkpoint: record["audit"] for job, record in pairs if job.checkpoint is not None}

    @property
    def originals(self) -> tuple[str, ...]:
        """Return the keys of the originals, by number."""
        return tuple(job.key for job in self.jobs if job.kind == "original")

    @property
    def original(self) -> str:
        """Return the key of the first original, from which searches start."""
        return self.jobs[0].key

    @property
    def seconds(self) -> float:
        """Return the mean seconds per training run; infinite if no model was trained here (imported checkpoints)."""
        seconds = [record["seconds"] for record in self.records if record["seconds"] is not None]
        return sum(seconds) / len(seconds) if seconds else math.inf

    @cached_property
    def reference_jobs(self) -> list[TrainJob]:
        """Return the models that only give a search its targets."""
        return reference_jobs(self.scenario)

    @cached_property
    def retrained(self) -> Audit:
        """Return what reported runs aim at: the retrained models' mean audit, and the first original's utility."""
        audits = [record["audit"] for job, record in zip(self.jobs, self.records) if job.kind == "retrained"]
        return reference(audits, self.records[0]["audit"])

    @cached_property
    def _tuning_targets(self) -> dict[str, Audit]:
        originals = [(job, record) for job, record in zip(self.jobs, self.records) if job.kind == "original"]
        if not self.scenario.experiment.tunes_separately:
            return {job.key: self.retrained | reference([], record["audit"]) for job, record in originals}
        read = self.scenario.store.read_json
        audits = [read(job.audit_key) for job in self.reference_jobs]
        return {
            job.key: reference(audits, read(job.tuning_audit_key) if job.tuning_audit_key else None)
            for job, _ in originals
        }

    def tuning_target(self, original: str) -> Audit:
        """Return what a search on this original aims at: the mean audit of its references, and the original's utility.

        With `tuning_request: same`, the references are the retrained models.
        """
        return self._tuning_targets[original]


@dataclass(frozen=True)
class Swept:
    """The search trials, their finalists, the setting chosen for each method, and the final runs of these settings."""

    scenario: Scenario
    trained: Trained

    @cached_property
    def planned(self) -> Mapping[str, list[TrialJob] | list[SearchJob]]:
        return search_jobs(self.scenario, self.trained.original)

    @cached_property
    def search(self) -> dict[str, list[TrialRecord]]:
        """Return the search records of every method that is searched, in a fixed order."""
        return {
            method: [
                record
                for job in jobs
                for record in (
                    search_records(self.scenario, job) if isinstance(job, SearchJob) else [self._record(job)]
                )
            ]
            for method, jobs in self.planned.items()
        }

    @cached_property
    def best(self) -> dict[str, list[TrialRecord]]:
        """Return each method's best trials with different settings, best first, at most `sweep.finalists`."""
        sweep, target = self.scenario.experiment.sweep, self.trained.tuning_target(self.trained.original)
        return {
            method: _distinct(ranked(records, sweep.objective, target))[: sweep.finalists]
            for method, records in self.search.items()
        }

    @cached_property
    def finalist_jobs(self) -> dict[str, list[TrialJob]]:
        settings = {method: [record["setting"] for record in records] for method, records in self.best.items()}
        return finalist_jobs(self.scenario, self.trained.originals, settings)

    @cached_property
    def finalists(self) -> dict[str, list[TrialRecord]]:
        """Return the records of the best settings' further runs by method."""
        return {method: [self._record(job) for job in jobs] for method, jobs in self.finalist_jobs.items()}

    @cached_property
    def chosen(self) -> dict[str, TrialRecord]:
        """Return the search trial whose setting is chosen for each method; a method whose trials all failed has none.

        Its mean objective over the trial and the setting's further runs is the best; a setting that failed or stopped
        in one of them comes after those that finished.
        """
        name = self.scenario.experiment.sweep.objective
        chosen = {}
        for method, best in self.best.items():
            again = self.finalists.get(method, [])
            runs = [[trial, *(r for r in again if r["setting"] == trial["setting"])] for trial in best]
            order = sorted(range(len(best)), key=lambda i: self._rank(runs[i], name))
            if order:
                chosen[method] = best[order[0]]
        return chosen

    def _rank(self, runs: Sequence[TrialRecord], name: str) -> tuple[int, float]:
        """Return what sorts settings from best to worst: the worst status of its runs, the mean objective."""
        values = [
            better(name)(objective(name, run["audit"], self.trained.tuning_target(run["original"])))
            for run in runs
            if run["audit"]
        ]
        mean = math.fsum(values) / len(values)
        worst = max(STATUSES.index(run["status"]) for run in runs)
        return worst, mean if math.isfinite(mean) else math.inf

    @cached_property
    def jobs(self) -> list[TrialJob]:
        return final_jobs(self.scenario, self.trained.originals, self.settings)

    @property
    def settings(self) -> dict[str, dict[str, object]]:
        """Return the setting of each method's final runs: the chosen one, or the only one."""
        experiment = self.scenario.experiment
        only = {
            method: {key: space.values[0] for key, space in experiment.spaces(method).items()}
            for method in experiment.methods
            if not experiment.searches(method)
        }
        settings = only | {method: record["setting"] for method, record in self.chosen.items()}
        return {method: settings[method] for method in experiment.methods if method in settings}

    @cached_property
    def records(self) -> list[TrialRecord]:
        """Return the records of the final runs."""
        return [self._record(job) for job in self.jobs]

    def _record(self, job: TrialJob) -> TrialRecord:
        return cast(TrialRecord, self.scenario.store.read_json(f"{job.key}.json"))


def search_records(scenario: Scenario, job: SearchJob) -> list[TrialRecord]:
    """Return the records of an adaptive search so far, in a fixed order."""
    return [scenario.store.read_json(key) for key in scenario.store.keys(job.folder, suffix=".json")]


def ranked(records: Sequence[TrialRecord], name: str, target: Audit) -> list[TrialRecord]:
    """Return the trials from best to worst on the samples of the search: finished ones, then stopped ones.

    Failed trials, and those without a finite objective, are left out. The first drawn wins a tie.
    """
    key = better(name)
    values = [
        (STATUSES.index(record["status"]), key(value), number)
        for number, record in enumerate(records)
        if record["status"] != "failed"
        and record["audit"]
        and math.isfinite(value := objective(name, record["audit"], target))
    ]
    return [records[number] for *_, number in sorted(values)]


def _distinct(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the first record of each setting; an adaptive search may propose one twice."""
    return [record for n, record in enumerate(records) if all(r["setting"] != record["setting"] for r in records[:n])]
