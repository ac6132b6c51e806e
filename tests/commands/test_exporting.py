"""`raybench export` writes the unlearned checkpoint of a method of a finished run."""

from pathlib import Path

import pytest
import torch

from raybench import models
from raybench.commands.export import export
from raybench.errors import UserError


@pytest.fixture
def store(trained, tables_folder):
    return trained.scenario.store


def test_the_exported_model_is_from_the_first_final_run_and_loads_into_its_class(store, swept, tmp_path):
    out = tmp_path / "finetuned.pt"
    job = next(job for job in swept.jobs if job.method == "finetune")
    line = export(store, "tiny", "finetune", out)
    assert f"finetune, seed {job.seed}," in line
    assert job.key.rsplit("/")[-1] in line
    model = models.small_cnn(10, 1, 4)
    model.load_state_dict(torch.load(out, weights_only=True))
    stored = models.read_weights(store.read_bytes(f"{job.key}.pt"))
    assert all(torch.equal(stored[key], value) for key, value in model.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["finetuned.pt"]


def test_an_earlier_file_is_replaced(store, tmp_path):
    out = tmp_path / "model.pt"
    out.write_bytes(b"old")
    export(store, "tiny", "retrain", out)
    assert torch.load(out, weights_only=True)


@pytest.mark.parametrize(
    ("run", "method", "message"),
    [
        ("tyni", "finetune", r"unknown run on .*'tyni'; did you mean 'tiny'"),
        ("tiny", "finetun", r"unknown method of run 'tiny/[0-9a-f]{8}': 'finetun'; did you mean 'finetune'\?"),
        ("tiny", "scrub", r"allowed: finetune, gradient_ascent, own_tiny_methods\.crash, retrain"),
        ("tiny", "own_tiny_methods.crash", r"has no model to export: ZeroDivisionError: the method's own fault"),
    ],
)
def test_an_unknown_run_or_method_is_rejected_with_the_valid_names(store, tmp_path, run, method, message):
    out = tmp_path / "model.pt"
    with pytest.raises(UserError, match=message):
        export(store, run, method, out)
    assert not out.exists()


def test_a_file_that_cannot_be_written_is_named(store, tmp_path):
    with pytest.raises(UserError, match=r"is a folder; give a file"):
        export(store, "tiny", "finetune", tmp_path)
    with pytest.raises(UserError, match=r"nowhere.*cannot be written: No such file or directory"):
        export(store, "tiny", "finetune", tmp_path / "nowhere" / "model.pt")
    with pytest.raises(UserError, match=r"null.*cannot be written: Not a directory"):  # nor can the partial be removed
        export(store, "tiny", "finetune", Path("/dev/null/model.pt"))
    assert list(tmp_path.iterdir()) == []
