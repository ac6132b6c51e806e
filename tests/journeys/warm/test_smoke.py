"""One experiment of each source, in its small form, from files in the true layout to the report, on one Ray."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from raybench.commands.smoke import smoke
from raybench.progress import Reporter

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[3] / "experiments"
ONE_PER_SOURCE = (
    "uuef/vit_ti_16_random100_released",
    "precision/agedb_released",
    "mufac/table_1_released",
    "mucac/multilabel_corrected",
    "conformal/cifar10_class_released",
)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return tmp_path_factory.mktemp("smoke")


@pytest.mark.parametrize("name", ONE_PER_SOURCE)
def test_an_experiment_of_each_source_runs_from_its_files_to_its_report(name, storage):
    (tried,) = smoke([ROOT / f"{name}.yaml"], storage, Reporter(Console(), verbosity=-1))
    assert tried.error is None
    run = storage / name.replace("/", "_")
    metrics = pq.read_table(run / "tables" / "metrics.parquet").to_pandas()
    assert set(metrics.kind) >= {"original", "retrained", "unlearned"}
    unexplained = metrics[metrics.value.isna() & metrics.reason.isna()]
    assert unexplained.empty
    trials = pq.read_table(run / "tables" / "trials.parquet").to_pandas()
    assert set(trials.status) <= {"finished", "stopped"}
    assert (run / "report.md").is_file()
