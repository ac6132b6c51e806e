"""Journeys in this process, on one Ray: its start and that of its workers are waited for once."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raybench.cli import main
from raybench.distributed.cluster import Cluster


@pytest.fixture(scope="package", autouse=True)
def _warm() -> Iterator[None]:
    """Start a Ray that the runs find."""
    with Cluster() as cluster:
        cluster.start()
        yield


@pytest.fixture
def typed(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Type a command line in the user's folder; return what it prints."""

    def run(*words: str) -> str:
        monkeypatch.chdir(project)
        monkeypatch.setattr(sys, "argv", ["raybench", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code
        return capsys.readouterr().out

    return run
