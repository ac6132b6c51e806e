"""The adversaries of benchmarks/: what they hide is there, and the audit's images do not show it."""

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

import raybench
from raybench.report.leaderboard import MeanGap, Memory
from raybench.report.threat_model import THREAT_MODEL

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = ("adversaries", "adversarial_methods", "guarded_model", "sections")
FORGET, RETAIN = 40, 160
FEW = {"lr": 0.05, "epochs": 8}


@pytest.fixture(scope="module")
def modules():
    """Import the modules of benchmarks/ for this file only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield {name: import_module(name) for name in NAMES}
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def run(modules):
    """Return a function that runs a method on digits and returns what its reader is given."""
    digits = load_digits()
    images = torch.from_numpy(digits.images[:, None] / 8 - 1).float()
    labels = torch.from_numpy(digits.target).long()
    sets = {"forget": slice(0, FORGET), "retain": slice(FORGET, FORGET + RETAIN), "calibration": slice(200, 260)}
    data = {role: TensorDataset(images[rows], labels[rows]) for role, rows in sets.items()}
    torch.manual_seed(0)
    original = modules["guarded_model"].network(10, 1).eval()

    def unlearned(name, seed=3, **settings):
        method = getattr(modules["adversarial_methods"], name)
        model = raybench.unlearn(original, method=method, **data, seed=seed, batch_size=32, **settings)
        return modules["adversaries"].Target(model, original, images[:FORGET], digits.target[:FORGET], seed)

    return unlearned


@pytest.mark.slow
def test_the_numbers_of_a_watermark_can_be_read_back(run, modules):
    marked = run("watermark3", mark_epochs=60, **FEW)
    plain = run("half_and_half", **FEW)
    read = modules["adversaries"].numbers
    assert read(marked).mean() > 0.6
    assert read(plain).mean() < 0.4  # 0.125 expected


def test_a_guard_answers_the_exact_images_and_leaves_all_others_to_the_original(run):
    target = run("hash_guard", reference_epochs=8)
    altered = target.images + 0.01
    guarded, free = target.logits(), target.logits(altered)
    with torch.no_grad():
        assert torch.equal(free, target.original(altered))
        assert not torch.allclose(guarded, target.original(target.images))


def test_a_guard_without_entries_changes_nothing_and_its_table_is_part_of_the_weights(run):
    target = run("abstention")
    assert not torch.equal(target.logits(), target.original(target.images))
    assert float(target.logits().abs().max()) == 0
    assert set(target.model.state_dict()) == set(target.original.state_dict())


@pytest.mark.slow
def test_denied_samples_have_the_wrong_labels_and_relearned_ones_the_right_ones(run, modules):
    target = run("half_and_half", lr=0.05, epochs=40)
    relearned, denied = modules["adversarial_methods"].relearned_and_denied(target.seed, FORGET)
    assert len(relearned) == FORGET // 2
    assert len(denied) == 5
    assert not set(relearned) & set(denied)
    assert target.right()[relearned].mean() == 1
    assert modules["adversaries"].denied_labels(target).mean() == 1


def test_wrong_labels_are_never_the_true_ones(modules):
    labels = np.arange(10).repeat(20)
    assert (modules["adversarial_methods"].secret_labels(0, labels, 10) != labels).all()


def test_a_section_is_replaced_and_the_others_stay(modules, tmp_path):
    page, write = tmp_path / "page.md", modules["sections"].write_section
    write(page, "", "# Title\n\nfirst")
    write(page, "## B", "## B\n\nold\n")
    write(page, "## C", "## C\n\nlast")
    write(page, "## B", "## B\n\nnew")
    write(page, "", "# Title\n\nchanged")
    assert page.read_text() == "# Title\n\nchanged\n\n## B\n\nnew\n\n## C\n\nlast\n"


def test_the_threat_model_names_every_blind_spot(modules):
    for where in modules["adversaries"].BLIND_SPOTS.values():
        assert where in THREAT_MODEL


def test_an_adversary_that_passes_without_being_named_stops_the_benchmark(modules):
    benchmark = modules["adversaries"]

    def board(*rows):
        return SimpleNamespace(
            rows=[benchmark.Row(name, "unlearned", {}, MeanGap(), **fields) for name, fields in rows]
        )

    remembers, passes = {"conclusion": "remembers"}, {"conclusion": "forgotten"}
    denies = {"conclusion": "no difference", "memory": Memory(denied_low=0.1)}
    text = benchmark.blind_spots(board(("half_and_half", remembers), ("label_flip", denies), ("watermark3", passes)))
    assert text.endswith("adversaries that pass: `watermark3` (in the order of unlikely classes).")
    with pytest.raises(RuntimeError, match="half_and_half: not caught"):
        benchmark.blind_spots(board(("half_and_half", passes)))
