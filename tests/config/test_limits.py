"""Experiment files that would hang a run, exhaust the memory or write elsewhere are refused within a second."""

import os
import time
from pathlib import Path

import pytest

from raybench import limits
from raybench.config.reading import load_experiment, read
from raybench.config.yaml_text import parse
from raybench.errors import UserError

TEXT = """\
name: tiny
data: {dataset: digits}
forget: {rule: random, count: 40}
model: {name: cnn, width: 4}
methods: {finetune: {}}
"""
BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
MERGE_BOMB = "a0: &a0 {b: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TEXT)
    return path


def refusal(path: Path, *overrides: str) -> str:
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        load_experiment(path, overrides)
    assert time.monotonic() - started < 10
    assert len(str(caught.value)) < 2000
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sweep.trials=1e14", "at most 10000"),
        ("sweep.seeds=1e9", "at most 10000"),
        ("train.retrained_seeds=1e11", "at most 10000"),
        ("train.retrained_seeds=[-1]", "at least 0"),
        ("train.seed=-1", "at least 0"),
        ("data.seed=-1", "at least 0"),
        ("sweep.seed=4294967296", "at most 2147483647"),
        ("forget.seed=-1", "forget.seed = -1: must be a whole number from 0"),
        ("evaluate.population={methods: [finetune], runs: 1e9}", "at most 10000"),
        ("train.lr=inf", "train.lr = inf: must be a finite number"),
        ("train.lr=.inf", "not a finite number"),
        ("train.lr=1e999", "not a finite number"),
        ("train.clip_norm=inf", "must be a finite number"),
        ("train.retrained={lr: inf}", "must be a finite number"),
        ("methods.finetune.lr=inf", "methods.finetune.lr = inf: must be a finite number"),
        ("methods.finetune.lr={choice: [0.1, inf]}", "must be a finite number"),
        ("methods.finetune.lr=nan", "'nan': must be greater than 0"),
        ("data.mislabel={fraction: nan}", "must be a finite number"),
        ("resources.cpus_per_model=inf", "must be a finite number"),
        ("evaluate.alphas=[0.1, 0.1]", "alphas must be distinct"),
        ("evaluate.metrics={knn: {k: 0}}", "evaluate.metrics.knn.k = 0: must be 1 to"),
        ("evaluate.metrics={mia: {seed: -1}}", "evaluate.metrics.mia.seed = -1"),
        ("data.resize=100000", "at most 4096"),
        ("data.view={size: 100000}", "at most 4096"),
        ("data.short_side_cache=100000", "at most 4096"),
        ("model.width=1000000000", "at most 1024"),
        ("resources.threads=100000", "at most 1024"),
        ("train.epochs=1:30", "train.epochs = '1:30': must be a whole number"),
        (f"train.epochs={'1' * 5000}", "a number of 5000 characters"),
        (f"train.lr={'1' * 5000}.0", "not a finite number"),
        ("name=" + "x" * 101, "cannot name a run"),
        ("name=artifacts", "keeps the artifacts of all runs"),
        ("name=artefacts", "keeps the artifacts of all runs"),
        ("name='[red]x'", "cannot name a run"),
        ("name=''", "cannot name a run"),
        ("methods={'../../../../x': {method: finetune}}", "methods.../../../../x"),
        ("methods={'..': {method: finetune}}", "cannot name an entry of methods"),
        ("methods={'': {method: finetune}}", "cannot name an entry of methods"),
        ("methods={'[red]x': {method: finetune}}", "cannot name an entry of methods"),
        (f"methods={{{'x' * 300}: {{method: finetune}}}}", "cannot name an entry of methods"),
        ("methods={1: {method: finetune}}", "the key 1 is not a text"),
        ("evaluate.downstream={'a.b': {dataset: digits}}", "cannot name a downstream set"),
        ('data.root="a\\0b"', "a text with the character '\\x00'"),
        ('data.root="\\ud800"', "a text with the character '\\ud800'"),
        ('name="\\e[2J"', "a text with the character '\\x1b'"),
        ("model.name=..x", "cannot import model"),
        (".".join(["a"] * 3000) + "=1", "more than 50 keys within each other"),
        ("data.root=" + "[" * 3000, "more than 50 mappings and lists within each other"),
        ("forget.count=!!timestamp 2024-01-01", "could not determine a constructor"),
        ("forget.count=!!float x", "does not fit its tag"),
        ("forget.count=!!bool x", "does not fit its tag"),
    ],
)
def test_a_value_beyond_the_limits_is_refused_with_what_is_allowed(file: Path, override: str, words: str) -> None:
    assert words in refusal(file, override)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, ":15: not valid YAML: more than 50,000 values once its aliases are expanded"),
        (MERGE_BOMB, "more than 50,000 values once its aliases are expanded"),
        ("name: &a [*a]\n", ":1: not valid YAML: an alias holds itself"),
        ("name: " + "[" * 3000 + "]" * 3000, "more than 50 mappings and lists within each other"),
        ("name: " + "{a: " * 3000, "more than 50 mappings and lists within each other"),
        ("#" * (limits.FILE_BYTES + 1), f"has {limits.FILE_BYTES + 1:,} bytes (allowed: 1,000,000)"),
        ('extends: "a\\0b"\n', "a text with the character"),
        (f"extends: {'x' * 5000}\n", "cannot be read"),
        ("extends: ~nobody/x.yaml\n", "does not exist"),
    ],
)
def test_a_text_that_could_hang_the_reader_is_refused(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    assert words in refusal(file)


def test_an_endless_chain_of_files_ends(tmp_path: Path) -> None:
    for i in range(limits.FILES + 5):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i + 1}.yaml\n")
    assert "more than 20 files extend each other" in refusal(tmp_path / "0.yaml")


def test_files_that_are_no_regular_files_are_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    for name in ("pipe.yaml", "loop.yaml"):
        assert name in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),
        ("010", 10),
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".5", 0.5),
        ("0x1F", 31),
        ("1_000", 1000),
        ("2024-01-01", "2024-01-01"),
        ("=", "="),
        ("yes", True),
        ("~", None),
    ],
)
def test_scalars_are_read_as_people_mean_them(text: str, value: object) -> None:
    assert parse(f"a: {text}")[0] == {"a": value}
    assert type(parse(f"a: {text}")[0]["a"]) is type(value)


def test_aliases_and_merge_keys_still_work(file: Path) -> None:
    text = "methods:\n  finetune: &settings {lr: 0.1}\n  ga: {<<: *settings, method: gradient_ascent, lr: 0.2}\n"
    file.write_text(TEXT.replace("methods: {finetune: {}}\n", text))
    experiment, _ = load_experiment(file)
    assert experiment.methods["ga"] == {"lr": 0.2, "method": "gradient_ascent"}


def test_the_files_of_a_chain_are_listed(tmp_path: Path, file: Path) -> None:
    (tmp_path / "more.yaml").write_text("extends: tiny.yaml\n")
    assert read(tmp_path / "more.yaml").files == (tmp_path / "more.yaml", file)
