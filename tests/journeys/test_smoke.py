"""Run one experiment per paper in its small form, from files in the real layout to the report."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from raybench.commands.smoke import smoke
from raybench.progress import Reporter

from .conftest import run_folder

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("in_tasks")]
ROOT = Path(__file__).parents[2] / "experiments"
ONE_PER_PAPER = (
    "uuef/vit_ti_16_random100_released",
    "precision/agedb_released",
    "mufac/table_1_released",
    "mucac/multilabel_corrected",
    "conformal/cifar10_class_released",
)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return tmp_path_factory.mktemp("smoke")


@pytest.mark.parametrize("name", ONE_PER_PAPER)
def test_an_experiment_of_each_paper_runs_from_its_files_to_its_report(name, storage, local_ray):
    (outcome,) = smoke([ROOT / f"{name}.yaml"], storage, Reporter(Console(), verbosity=-1))
    assert outcome.error is None
    run = run_folder(storage, name.replace("/", "_"))
    metrics = pq.read_table(run / "tables" / "metrics.parquet").to_pandas()
    assert set(metrics.kind) >= {"original", "retrained", "unlearned"}
    unexplained = metrics[metrics.value.isna() & metrics.reason.isna()]
    assert unexplained.empty
    trials = pq.read_table(run / "tables" / "trials.parquet").to_pandas()
    assert set(trials.status) <= {"finished", "stopped"}
    assert (run / "report.md").is_file()
    assert (run / "report.html").is_file()
