"""Run an experiment from Python and open its results. The tiny experiment is in the store, so no Ray starts here."""

from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import raybench
from raybench.api.run import _as_texts
from raybench.config.reading import experiment_of, load_experiment


def test_a_run_that_is_in_the_store_gives_its_results_without_ray(finished, tables_folder, capsys):
    assert capsys.readouterr().out == ""
    assert (tables_folder.parent / "report.md").read_text() == finished.report


def test_tables_are_those_of_the_folder(finished, tables_folder):
    for name in ("leaderboard", "metrics", "models", "trials", "samples", "memory", "exposure", "splits"):
        frame = getattr(finished, name)
        assert frame is getattr(finished, name)
        pd.testing.assert_frame_equal(frame, pd.read_parquet(tables_folder / f"{name}.parquet"))


def test_predictions_by_name_or_id_of_a_model(finished, tables_folder):
    table = finished.predictions("original", "forget")
    key = finished.models.set_index("name").model["original"]
    assert finished.predictions(key, "forget").equals(table)
    ids = finished.splits.id[finished.splits.role == "forget"]
    assert table["id"].to_pylist() == ids.tolist()
    metric = finished.metrics.query("name == 'original' and metric == 'accuracy' and split == 'forget'")
    logits = np.stack(table["logits"].to_numpy())
    assert metric.value.item() == (logits.argmax(1) == table["label"].to_numpy()).mean()
    with pytest.raises(raybench.UserError, match="did you mean 'original'"):
        finished.predictions("orignal", "forget")
    with pytest.raises(raybench.UserError, match="did you mean 'forget'"):
        finished.predictions("original", "forgot")


def test_it_shows_the_leaderboard_and_the_verdict(finished):
    assert finished.verdict[0].startswith("no verdict on forgetting: 2 retrained models")
    for text in (repr(finished), finished._repr_html_()):
        assert f"raybench run {finished.name!r}" in unescape(text)
        assert "gradient_ascent" in text
        assert finished.verdict[0] in unescape(text)


def test_open_takes_a_name_a_folder_or_the_experiment_file(finished, storage, tables_folder, tiny, tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny(), sort_keys=False))
    name = f"tiny/{tables_folder.parent.name}"
    folders = (storage / "tiny", str(storage / "tiny"), tables_folder.parent)
    for run in ("tiny", name, name[:8], *folders, tmp_path / "tiny.yaml"):
        again = raybench.open(run, storage=storage)
        assert again.name == name
        assert again.verdict == finished.verdict


def test_a_missing_run_is_named_with_the_nearest_one(finished, storage):
    for run in ("tin", "no/such/folder/tiny", storage / "tin"):
        with pytest.raises(raybench.UserError, match=r"unknown run on .*allowed: .*tiny"):
            raybench.open(run, storage=storage)
    with pytest.raises(raybench.UserError, match="is a URI"):
        raybench.open("s3://bucket/runs/tiny")


def test_a_run_that_was_stopped_early_says_what_is_missing(finished, storage, tiny):
    early = raybench.run(tiny(name="early"), storage=storage, until="train", quiet=True)
    with pytest.raises(raybench.UserError, match="has no table 'metrics' yet: run it with until='report'"):
        _ = early.metrics
    with pytest.raises(raybench.UserError, match="has no report yet"):
        _ = early.report
    assert "has no table 'leaderboard' yet" in repr(early)
    assert "has no table 'leaderboard' yet" in unescape(early._repr_html_())


def test_content_and_file_give_the_same_experiment(tiny, write_file, monkeypatch, tmp_path):
    path = write_file({**tiny(), "train": {**tiny()["train"], "epochs": 9}})
    assert experiment_of(tiny(), ["train.epochs=9"])[0] == load_experiment(path)[0]
    monkeypatch.chdir(tmp_path)
    extended, text = experiment_of({"extends": path.name, "name": "other"})
    assert (extended.name, extended.train.epochs) == ("other", 9)
    assert "extends" not in text


def test_overrides_as_texts_or_as_a_mapping(tiny):
    overrides = {
        "train.lr": 1e-05,
        "methods.finetune": {"lr": {"loguniform": (np.float64(0.001), 0.1)}},
        "data.root": Path("no"),
        "train.augment": [],
        "name": "other",
    }
    parsed = _as_texts(overrides)
    experiment, _ = experiment_of(tiny(), [text for text in parsed if not text.startswith("data.root")])
    assert (experiment.name, experiment.train.lr) == ("other", 1e-05)
    assert experiment.spaces("finetune")["lr"].extremes == (0.001, 0.1)
    assert "data.root='no'" in parsed
    assert _as_texts(["train.epochs=2"]) == ["train.epochs=2"]


WRONG = {
    r"experiment: train.epochz: unknown key; did you mean 'epochs'": {"overrides": ["train.epochs=1"]},
    r"must be a list of 'key=value'": {"overrides": "train.epochs=1"},
    r"train.lr is a builtin_function_or_method, which an experiment file cannot hold": {"overrides": {"train.lr": len}},
    r"unknown until 'trian'; did you mean 'train'": {"until": "trian"},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_run_is_refused_in_words(message, tiny, tmp_path):
    content = tiny(train__epochz=1) if "epochz" in message else tiny()
    with pytest.raises(raybench.UserError, match=message):
        raybench.run(content, storage=tmp_path, quiet=True, **WRONG[message])


def test_the_dictionary_of_the_caller_does_not_change(tiny, storage, finished):
    content = tiny()
    raybench.run(content, storage=storage, until="train", quiet=True, overrides={"name": "unchanged"})
    assert content == tiny()
