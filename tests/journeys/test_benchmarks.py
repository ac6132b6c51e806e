"""Run the short form of every benchmark, so that none stops working unnoticed."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.ray, pytest.mark.slow]
FOLDER = Path(__file__).parents[2] / "benchmarks"
# the models that `power` measures, a part of `coverage`, what `adversaries` ranks, and the pages of all; `soak` takes
# minutes, and test_resume.py kills the same processes
NO_COMMAND = {"known_memory", "reference_coverage", "adversarial_methods", "guarded_model", "sections"}
NO_COMMAND |= {"soak", "soak_victims"}
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NO_COMMAND)


@pytest.fixture
def _importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put benchmarks/ on the path for one test, and restore torch's threads and the imported modules after it."""
    modules, threads = set(sys.modules), torch.get_num_threads()
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in NAMES:  # a package of tests may have the same name
        monkeypatch.delitem(sys.modules, name, raising=False)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and Path(str(sys.modules[name].__file__)).parent == FOLDER:
            del sys.modules[name]


@pytest.mark.usefixtures("_importable", "local_ray")  # the benchmarks that need Ray use the one that runs
@pytest.mark.parametrize("name", NAMES)
def test_the_short_form_of_a_benchmark_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    if name != "sweep":  # which measures Tune
        request.getfixturevalue("in_tasks")
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--short"])
    importlib.import_module(name).main()
    assert len(capsys.readouterr().out.splitlines()) > 1


def test_every_benchmark_is_in_the_documentation() -> None:
    documented = "".join((FOLDER.parent / "docs" / page).read_text() for page in ("benchmarks.md", "power.md"))
    assert all(f"benchmarks/{name}.py" in documented for name in NAMES)
