"""Damage a finished run in every kind of artifact; the same command names each, makes it again, and changes nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raybench.config.schema import Resources
from raybench.distributed import sweep
from raybench.storage.store import Store

from .conftest import Command, run_folder
from .test_resume import assert_same

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def first(storage: Path, pattern: str) -> Path:
    return sorted(storage.glob(pattern))[0]


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "copy")


def test_damaged_artifacts_of_every_kind_are_named_and_made_again(
    copy: Path, finished: Path, succeed: Callable[..., str], in_tasks: None
) -> None:
    model = next(
        path
        for path in sorted((copy / "artifacts" / "models").glob("*.json"))
        if '"retrained"' in path.read_text() and (copy / "artifacts" / "predictions" / path.stem).is_dir()
    )
    predictions = first(copy, f"artifacts/predictions/{model.stem}/forget-*.parquet")
    noticed = [
        first(copy, "artifacts/data/*/images.npy"),
        first(copy, "artifacts/splits/*.parquet"),
        model.with_suffix(".pt"),
        first(copy, "artifacts/audits/*.json"),
        first(copy, "artifacts/trials/*.json"),
        first(copy, "artifacts/scores/*-samples.parquet"),
        run_folder(copy, "small") / "evidence" / "evidence.json",
    ]
    for path in noticed:
        flip(path)
    for path in (
        predictions,
        first(copy, "artifacts/trials/*5*.json"),
        first(run_folder(copy, "small"), "tables/predictions/*.parquet"),
    ):
        cut(path)
    for path in (run_folder(copy, "small") / "tables" / "metrics.parquet", run_folder(copy, "small") / "manifest.json"):
        flip(path)  # written by every run
    sorted((copy / "artifacts" / "scores").glob("*-samples.parquet"))[-1].unlink()
    unlearned = run_folder(copy, "small") / "evidence" / "unlearned.pt"
    flip(unlearned)

    printed = succeed("run", "small.yaml", "--storage", str(copy))

    for path in noticed:
        name = str(path.parent if path.suffix == ".npy" else path).removeprefix(f"{copy}/")
        assert f"{name} is damaged" in printed, name
    assert "Traceback" not in printed
    assert_same(copy, finished)
    assert unlearned.read_bytes() == (run_folder(finished, "small") / "evidence" / "unlearned.pt").read_bytes()
    again = succeed("run", "small.yaml", "--storage", str(copy))
    assert "is damaged" not in again


def test_a_damaged_table_is_named_by_report_and_made_again_by_run(
    copy: Path, finished: Path, raybench: Command, succeed: Callable[..., str]
) -> None:
    flip(run_folder(copy, "small") / "tables" / "models.parquet")
    done = raybench("report", "small", "--storage", str(copy))
    assert done.code == 2
    assert "/tables/models.parquet is damaged" in done.stderr
    assert done.stderr.count("\n") == 1
    succeed("run", "small.yaml", "--storage", str(copy))
    assert_same(copy, finished)


def test_evidence_does_not_certify_a_model_that_changed(copy: Path, raybench: Command) -> None:
    """The weights of the best method differ from what was evaluated, and the page is written anew."""
    (run_folder(copy, "small") / "evidence" / "unlearned.pt").unlink()
    for path in (copy / "artifacts" / "models").glob("*.pt"):
        flip(path)
    done = raybench("report", "small", "--storage", str(copy))
    assert done.code == 2
    assert ".pt is damaged" in done.stderr
    assert not (run_folder(copy, "small") / "evidence" / "unlearned.pt").exists()


def test_the_error_of_a_trial_is_not_unpickled_from_the_storage(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.tune.experiment import Trial

    unpickled, error = [], Trial.get_pickled_error
    monkeypatch.setattr(Trial, "get_pickled_error", lambda trial: (unpickled.append(trial), error(trial))[1])
    store, ended = Store(str(tmp_path)), []
    experiment = SimpleNamespace(name="tiny", resources=Resources(retries=1))

    def fail(config: dict[str, Any]) -> None:
        raise ValueError("a trial that fails")

    scenario: Any = SimpleNamespace(store=store, experiment=experiment)
    sweep._fit(scenario, fail, ended.append, param_space={"number": 1})
    assert (unpickled, ended) == ([], [])
    assert not store.keys(store.scratch("tiny"))


def test_nothing_of_ray_is_left_in_the_storage_or_open_to_others(finished: Path, local_ray: None) -> None:
    import ray

    assert not list((finished / ".ray").glob("*"))
    assert not list((finished / ".partial").glob("*"))
    session = Path(ray._private.worker._global_node.get_temp_dir_path())
    assert session.parent.name.startswith("rb-")
    assert session.parent.stat().st_mode & 0o777 == 0o700
