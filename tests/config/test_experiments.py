"""The experiment files that ship: each is valid, in its small form too, and says what it is."""

from pathlib import Path

import pytest
import yaml

from raybench import paper_tables
from raybench.commands.smoke import experiments, small
from raybench.config.reading import load_experiment
from raybench.data import fixtures

ROOT = Path(__file__).parents[2] / "experiments"
NAMED = sorted(path for path in ROOT.rglob("*.yaml") if "name" in yaml.safe_load(path.read_text()))
PAPERS = experiments([ROOT])


def header(path):
    lines = path.read_text().splitlines()
    return " ".join(line.lstrip("# ") for line in lines[: next(i for i, x in enumerate(lines) if x[:1] != "#")])


@pytest.mark.parametrize("path", NAMED, ids=lambda path: path.stem)
def test_an_experiment_is_valid_and_names_paper_cost_and_expected_result(path):
    experiment, _ = load_experiment(path)
    assert all(word in header(path) for word in ("Paper:", "Cost:", "Expected:"))
    assert len(experiment.name) > 3


def test_no_two_experiments_have_one_name():
    names = [load_experiment(path)[0].name for path in NAMED]
    assert len(set(names)) == len(names)


def test_scores_of_a_forget_rule_are_looked_up_next_to_the_file():
    experiment, _ = load_experiment(ROOT / "hard_forget_set.yaml")
    assert experiment.forget.model_extra["scores"] == str(ROOT / "hard_forget_set.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("smoke")


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_the_small_form_is_valid_and_has_its_data(path, folder):
    experiment, _ = load_experiment(small(path, folder))
    assert experiment.data.root is None or Path(experiment.data.root).is_dir()
    assert experiment.train.epochs <= 5
    assert experiment.sweep.trials <= 2


def test_every_reported_table_has_a_released_and_a_corrected_experiment():
    papers = [load_experiment(path)[0].paper for path in PAPERS]
    named = {(paper.table, paper.protocol) for paper in papers if paper is not None}
    main = {"mufac_age", "mucac_multilabel", "mucac_gender", "mucac_smiling", "mucac_young", "eth_cifar10", "eth_agedb"}
    main |= {"conformal_random_10", "conformal_random_50"}
    assert main <= set(paper_tables.tables())
    assert named == {(table, protocol) for table in main for protocol in ("released", "corrected")}


def test_every_dataset_that_an_experiment_needs_can_be_written_small():
    used = {load_experiment(path)[0].data.dataset for path in PAPERS}
    assert used <= set(fixtures.names())
