"""What training and search leave in the store: records, the chosen settings, the audit that a search aims at."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from raybench.engine.audit import Audit, better, objective, reference
from raybench.jobs.plan import final_jobs, search_jobs, train_jobs
from raybench.jobs.records import AuditedRecord, TrialRecord
from raybench.jobs.specs import SearchJob, TrainJob, TrialJob
from raybench.jobs.train import read_record
from raybench.scenario.scenario import Scenario


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
        seconds = [record["seconds"] for record in self.records if record["epochs"]]
        return sum(seconds) / len(seconds) if seconds else math.inf

    @cached_property
    def retrained(self) -> Audit:
        """Return what a search aims at: the retrained models' mean audit, and the first original's utility."""
        audits = [record["audit"] for job, record in zip(self.jobs, self.records) if job.kind == "retrained"]
        return reference(audits, self.records[0]["audit"])


@dataclass(frozen=True)
class Swept:
    """The search trials, the setting chosen for each method, and the final runs of the chosen settings."""

    scenario: Scenario
    trained: Trained

    @cached_property
    def planned(self) -> Mapping[str, list[TrialJob] | list[SearchJob]]:
        return search_jobs(self.scenario, self.trained.original)

    @cached_property
    def search(self) -> dict[str, list[TrialRecord]]:
        """Return every search record by method, in a fixed order."""
        store = self.scenario.store
        return {
            method: [
                record
                for job in jobs
                for record in (
                    search_records(self.scenario, job)
                    if isinstance(job, SearchJob)
                    else [store.read_json(f"{job.key}.json")]
                )
            ]
            for method, jobs in self.planned.items()
        }

    @cached_property
    def chosen(self) -> dict[str, TrialRecord]:
        """Return the best trial of each method on validation data; a method whose trials all failed is left out."""
        name = self.scenario.experiment.sweep.objective
        best = {method: choose(records, name, self.trained.retrained) for method, records in self.search.items()}
        return {method: record for method, record in best.items() if record is not None}

    @cached_property
    def jobs(self) -> list[TrialJob]:
        return final_jobs(self.scenario, self.trained.originals, self.settings)

    @property
    def settings(self) -> dict[str, dict[str, object]]:
        return {method: record["setting"] for method, record in self.chosen.items()}

    @cached_property
    def records(self) -> list[TrialRecord]:
        """Return the records of the final runs."""
        return [self.scenario.store.read_json(f"{job.key}.json") for job in self.jobs]


def search_records(scenario: Scenario, job: SearchJob) -> list[TrialRecord]:
    """Return the records of an adaptive search so far, in a fixed order."""
    return [scenario.store.read_json(key) for key in scenario.store.keys(job.folder, suffix=".json")]


def choose(records: Sequence[TrialRecord], name: str, retrained: Audit) -> TrialRecord | None:
    """Return the best trial on validation data: a finished one if there is one, else a stopped one with an audit.

    The first drawn wins a tie. None if every trial failed.
    """
    key = better(name)
    for status in ("finished", "stopped"):
        values = [
            (key(value), number, record)
            for number, record in enumerate(records)
            if record["status"] == status
            and record["audit"]
            and (value := objective(name, record["audit"], retrained)) == value
        ]
        if values:
            return min(values, key=lambda item: item[:2])[2]
    return None
