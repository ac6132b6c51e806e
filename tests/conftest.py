"""Run a tiny real experiment on scikit-learn's digits once per session, without Ray: train, sweep, predict, score."""

import copy
import logging
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the workers of pytest share the cores

import pytest
import torch
import yaml
from xdist.scheduler import LoadScopeScheduling

from raybench.config.schema import Experiment
from raybench.config.validation import parse_experiment
from raybench.data.splits import ROLES
from raybench.jobs import plan
from raybench.jobs.predict import Predictor
from raybench.jobs.prediction_plan import predict_jobs
from raybench.jobs.score import Scorer
from raybench.jobs.specs import EvaluatedModel, ScoreJob, TrialJob
from raybench.jobs.train import train_job
from raybench.jobs.trial import trial_job
from raybench.pipeline.collect import collect_tables
from raybench.pipeline.results import Swept, Trained
from raybench.scenario.prepare import prepare
from raybench.scenario.scenario import Scenario
from raybench.storage.store import Store

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {
        "dataset": "digits",
        "sizes": {"train": 200, "validation": 120, "calibration": 60, "test": 100, "unseen": 100},
        "mislabel": {"fraction": 0.1},
    },
    "forget": {"rule": "random", "count": 40},
    "model": {"name": "cnn", "width": 4},
    "train": {"epochs": 2, "lr": 0.1, "batch_size": 32, "retrained_seeds": 2},
    "methods": {
        "retrain": {},
        "finetune": {"lr": {"loguniform": [0.001, 0.1]}, "epochs": {"choice": [1, 2]}},
        "gradient_ascent": {"lr": 1e-4, "epochs": 1},
        "own_tiny_methods.crash": {},
    },
    "sweep": {"trials": 2, "seeds": 1, "tuning_request": "same", "finalists": 1},
    "evaluate": {
        "metrics": ["accuracy", "mia", "cr", "knn", "cka_to_retrained", "zrf", "weight_distance_to_original"],
        "alphas": [0.1, 0.3],
    },
}


def pytest_configure() -> None:
    """Deliver Ctrl-C to child processes even if the suite runs in the background, where the signal is ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def s3_uri() -> Iterator[str]:
    """Start moto's S3 server on the loopback interface; return a storage URI on it, to be completed by a folder."""
    moto = pytest.importorskip("moto.server", reason="needs moto[server], a local S3 server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = f"scheme=http&endpoint_override={host}:{port}&region=us-east-1&allow_bucket_creation=true"
    yield f"s3://key:secret@bucket/{{folder}}?{options}"  # workers that run already do not see new variables
    server.stop()


@pytest.fixture
def make_remote(request: pytest.FixtureRequest) -> Callable[[str], Store]:
    """Return a new store that is not on a local disk: in `memory` through fsspec, or on an `s3` server."""

    def make(kind: str) -> Store:
        folder = uuid.uuid4().hex
        if kind == "memory":
            return Store(f"fsspec+memory://{folder}/runs")
        return Store(request.getfixturevalue("s3_uri").format(folder=folder))

    return make


# tests that start Ray, by the start of their id; the first match counts
QUEUES = {
    "tests/journeys/test_benchmarks.py": "distributed",
    "tests/journeys/test_contributing_experiment.py": "distributed",
    "tests/journeys/": "journeys",
    "tests/distributed/": "distributed",
}


def queue(nodeid: str) -> str:
    """Return the queue of a test: its file, or one of the queues of tests that start Ray."""
    return next((name for start, name in QUEUES.items() if nodeid.startswith(start)), nodeid.partition("::")[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the tests that start Ray: they take longest; the others fill the second worker."""
    order = ["journeys", "distributed"]
    items.sort(key=lambda item: order.index(name) if (name := queue(item.nodeid)) in order else len(order))


class ByQueue(LoadScopeScheduling):
    """Keep a queue on one worker, so that its fixtures are built once."""

    def _split_scope(self, nodeid: str) -> str:
        return queue(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return ByQueue(config, log)


OWN_METHODS = """
import torch
from raybench import Count, Rate, method


@method(source="a test")
def crash(task, *, epochs: Count = 1) -> None:
    raise ZeroDivisionError("the method's own fault")


@method(source="a test")
def explode(task, *, epochs: Count = 3) -> None:
    for epoch in task.epochs(epochs):
        for parameter in task.model.parameters():
            parameter.data.fill_(float("nan"))


@method(source="a test")
def wipe(task, *, epochs: Count = 3) -> None:
    for epoch in task.epochs(epochs):
        for parameter in task.model.parameters():
            parameter.data.zero_()


@method(source="a test")
def shift(task, *, by: Rate = 0.01) -> None:
    for parameter in task.model.parameters():
        parameter.data.add_(by)
"""


def changed(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the content with changes such as {"train.epochs": 3}."""
    content = copy.deepcopy(content)
    for path, value in changes.items():
        *parents, last = path.split(".")
        section = content
        for name in parents:
            section = section.setdefault(name, {})
        section[last] = value
    return content


@dataclass(frozen=True)
class Evaluated:
    """Every model of the tiny experiment with its score job."""

    audited: list[EvaluatedModel]
    jobs: list[ScoreJob]


@pytest.fixture(scope="session")
def tiny() -> Callable[..., dict[str, Any]]:
    """Return the content of the tiny experiment file; keywords are changes such as train__epochs=3."""
    return lambda **changes: changed(TINY, {path.replace("__", "."): value for path, value in changes.items()})


@pytest.fixture(scope="session")
def make_experiment(tiny: Callable[..., dict[str, Any]], own_methods: str) -> Callable[..., Experiment]:
    return lambda **changes: parse_experiment(tiny(**changes))


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[..., Path]:
    """Write an experiment file from a mapping or a text."""

    def write(content: Any, name: str = "experiment.yaml") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="session")
def own_methods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Put a module of user-defined methods on the path and return its name."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_tiny_methods.py").write_text(OWN_METHODS)
    sys.path.insert(0, str(folder))
    yield "own_tiny_methods"
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def make_scenario(make_experiment: Callable[..., Experiment], trained: Trained) -> Callable[..., Scenario]:
    """Prepare a variant of the tiny experiment on the store of the trained models."""
    return lambda **changes: prepare(make_experiment(**changes), trained.scenario.store)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, make_experiment: Callable[..., Experiment]) -> Trained:
    torch.set_num_threads(1)
    scenario = prepare(make_experiment(), Store(str(tmp_path_factory.mktemp("runs"))))
    trained = Trained(scenario)
    for job in trained.jobs:
        train_job(scenario, job)
    return trained


@pytest.fixture(scope="session")
def swept(trained: Trained) -> Swept:
    """Run all search trials and final runs of the tiny experiment."""
    swept = Swept(trained.scenario, trained)
    for jobs in swept.planned.values():
        for job in jobs:
            assert isinstance(job, TrialJob)
            trial_job(trained.scenario, job, trained.retrained)
    for job in swept.jobs:
        trial_job(trained.scenario, job, trained.retrained)
    return swept


@pytest.fixture(scope="session")
def evaluated(trained: Trained, swept: Swept) -> Evaluated:
    scenario = trained.scenario
    finished = [job for job, record in zip(swept.jobs, swept.records) if record["audit"]]
    audited = plan.evaluated_models(trained.jobs, finished)
    predictor, scorer = Predictor(scenario), Scorer(scenario)
    for job in predict_jobs(scenario, audited):
        predictor(job)
    jobs = plan.score_jobs(scenario, audited)
    for score_job in jobs:
        scorer(score_job)
    return Evaluated(audited, jobs)


@pytest.fixture(scope="session")
def tables_folder(trained: Trained, swept: Swept, evaluated: Evaluated) -> Path:
    """Return the folder of the seven tables."""
    collect_tables(trained.scenario, trained, swept, evaluated.audited, evaluated.jobs)
    folder = Path(trained.scenario.store.path(f"{trained.scenario.folder}/tables"))
    assert {path.name for path in folder.iterdir()} >= {"splits.parquet", "models.parquet", "metrics.parquet"}
    assert len(list((folder / "predictions").iterdir())) == len(evaluated.audited) * len(ROLES)
    return folder
