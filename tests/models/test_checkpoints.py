"""User-provided checkpoints: which are refused, and the messages about them."""

import json
import os
import struct
import zipfile

import pytest
import safetensors.torch
import torch

from raybench import models
from raybench.errors import UserError
from raybench.models.checkpoints import (
    digest,
    fit_checkpoint,
    read_checkpoint,
    read_file,
    read_weights,
    to_safetensors,
)


@pytest.fixture
def model():
    return models.build("cnn", num_classes=3, seed=1, width=4)


def other(**changes):
    return models.build("cnn", **{"num_classes": 3, "width": 4, "seed": 5, **changes})


@pytest.mark.parametrize(
    "pack",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": {f"module.{key}": value for key, value in weights.items()}},
    ],
    ids=["bare", "state_dict", "model, data parallel"],
)
def test_a_state_dict_is_read_however_it_is_packed(model, tmp_path, pack):
    file = tmp_path / "mine.pt"
    torch.save(pack(other().state_dict()), file)
    fit_checkpoint(model, read_checkpoint(file).weights, name="mine.pt")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other().state_dict().values()))


def test_a_head_of_another_size_is_refused_with_both_sizes_and_what_to_do(model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        fit_checkpoint(model, other(num_classes=7).state_dict(), name="mine.pt")
    said = str(caught.value)
    for part in ("mine.pt", "has 7 outputs", "has 3 classes", "all 7 classes", "(7, 16)", "(3, 16)"):
        assert part in said
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_another_architecture_is_not_mistaken_for_another_head(model):
    with pytest.raises(UserError, match=r"of another architecture than the model: .*shapes different"):
        fit_checkpoint(model, other(num_classes=7, width=5).state_dict(), name="mine.pt")
    with pytest.raises(UserError, match="tensors missing"):
        fit_checkpoint(model, {}, name="mine.pt")


@pytest.mark.parametrize("name", ["mine.safetensors", "mine.pt"])
def test_a_safetensors_file_is_recognized_by_its_content(model, tmp_path, name):
    (tmp_path / name).write_bytes(to_safetensors(other().state_dict()))
    fit_checkpoint(model, read_checkpoint(tmp_path / name).weights, name=name)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other().state_dict().values()))
    named = safetensors.torch.load_file(tmp_path / name)  # what is written is read by the library itself
    assert digest(named) == digest(other().state_dict())


def test_tensors_that_share_memory_are_written_as_safetensors(tmp_path):
    weight = torch.arange(4.0)
    content = to_safetensors({"tied": weight, "too": weight, "transposed": weight.reshape(2, 2).T})
    assert torch.equal(read_weights(content)["transposed"], weight.reshape(2, 2).T)
    assert torch.equal(read_weights(content)["too"], weight)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_truncated_safetensors_file_is_called_damaged(share):
    content = to_safetensors(other().state_dict())
    with pytest.raises(UserError, match=r"mine is a safetensors file that is damaged or incomplete"):
        read_checkpoint(content[: int(share * len(content))], name="mine")


def test_a_safetensors_header_that_lies_is_refused():
    for entry in ({"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}, {"dtype": "F99"}, [], {"shape": [-1]}):
        header = json.dumps({"weight": entry}).encode()
        with pytest.raises(UserError, match="damaged"):
            read_checkpoint(struct.pack("<Q", len(header)) + header + b"\0" * 4)


def wrapped(key):
    return lambda weights: {key: weights, "epoch": 3, "optimizer": {"state": {}}}


def prefixed(prefix, **more):
    return lambda weights: {**{f"{prefix}{key}": value for key, value in weights.items()}, **more}


@pytest.mark.parametrize(
    ("pack", "unpacked"),
    [
        (lambda weights: weights, ()),
        (wrapped("model_state_dict"), ("under 'model_state_dict'",)),
        (lambda weights: {"model": {"state_dict": weights}}, ("under 'model'", "under 'state_dict'")),
        (prefixed("module."), ("without the prefix 'module.'",)),
        (prefixed("module.", n_averaged=torch.tensor(3)), ("without the prefix 'module.'",)),
        (prefixed("_orig_mod.module."), ("without the prefix '_orig_mod.'", "without the prefix 'module.'")),
    ],
    ids=["bare", "wrapper", "two wrappers", "DataParallel", "AveragedModel", "compiled"],
)
def test_what_is_unpacked_is_said(tmp_path, pack, unpacked):
    torch.save(pack(other().state_dict()), tmp_path / "mine.pt")
    checkpoint = read_checkpoint(tmp_path / "mine.pt")
    assert checkpoint.unpacked == unpacked
    assert digest(checkpoint.weights) == digest(other().state_dict())


def test_the_prefix_of_a_lightning_module_is_removed_and_said(model):
    assert fit_checkpoint(model, prefixed("net.")(other().state_dict()), name="it") == ("without the prefix 'net.'",)
    assert digest(model.state_dict()) == digest(other().state_dict())
    with pytest.raises(UserError, match="another architecture"):
        fit_checkpoint(model, prefixed("net.", extra=torch.zeros(1))(other().state_dict()), name="it")


def test_a_dictionary_that_contains_itself_is_refused(tmp_path):
    circle = {}
    circle["model"] = circle
    torch.save(circle, tmp_path / "circle.pt")
    with pytest.raises(UserError, match="no state dict"):
        read_checkpoint(tmp_path / "circle.pt")


def test_the_nearest_name_is_shown_for_a_tensor_that_is_missing(model):
    weights = dict(other().state_dict())
    weights["13.weights"] = weights.pop("13.weight")
    with pytest.raises(UserError, match=r"1 tensors missing \(13\.weight\); .*'13\.weights' of the file is nearest"):
        fit_checkpoint(model, weights, name="mine.pt")


def test_a_file_that_only_begins_like_one_is_called_damaged(tmp_path):
    (tmp_path / "short.pt").write_bytes(b"\xff" * 8 + b"{")
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(tmp_path / "short.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(tmp_path / "empty.pt")


def test_a_missing_file_says_where_a_relative_path_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"'mine\.pt' cannot be read.*next to the experiment file.*current folder"
    ) as caught:
        read_file("mine.pt")
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(UserError, match=r"cannot be read: No such file or directory$"):
        read_file(str(tmp_path / "mine.pt"))
    (tmp_path / "mine.pt").write_bytes(b"content")
    assert read_file("mine.pt") == b"content"


WEIGHT = torch.ones(2, 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({0: WEIGHT}, "no state dict of tensors by name"),
        ({"a": WEIGHT, 1: WEIGHT}, "no state dict of tensors by name"),
        ({"a": WEIGHT.to_sparse()}, "a is a sparse or nested tensor"),
        ({"a": torch.ones(2, 2, device="meta")}, "a is a tensor without values"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "a is a tensor of torch.complex64"),
        ({"a": torch.quantize_per_tensor(WEIGHT, 0.1, 0, torch.qint8)}, "a is a tensor of torch.qint8"),
        ({}, "no state dict"),
        ([WEIGHT], "no state dict"),
        (WEIGHT, "no state dict"),
    ],
)
def test_anything_but_dense_real_tensors_by_name_is_refused(tmp_path, content, words):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(UserError, match=words):
        read_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_hold_nan_are_refused(value):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    weights = {key: torch.full_like(tensor, value) for key, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match="its weights hold NaN or infinite numbers, in 2 tensors"):
        fit_checkpoint(model, weights, name="broken.pt")


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "weights.pt")
    for read in (read_checkpoint, lambda path: read_file(str(path))):
        with pytest.raises(UserError, match="is no regular file"):
            read(tmp_path / "weights.pt")


def test_a_header_that_claims_more_numbers_than_the_file_has_is_refused(tmp_path):
    path, lying = tmp_path / "weights.pt", tmp_path / "lying.pt"
    torch.save({"a": torch.arange(10_000, dtype=torch.float32)}, path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(lying, "w") as changed:
        for name in whole.namelist():
            content = whole.read(name)
            if name.endswith("data/0"):
                content = content[:64]
            changed.writestr(name, content)
    with pytest.raises(UserError, match="cannot be read safely"):
        read_checkpoint(lying)
