"""`certify` writes evidence of a made-up run, `verify` checks it, and every way to tamper with it is named."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from raybench import models
from raybench.cli import main
from raybench.config.reading import experiment_of, load_experiment
from raybench.errors import UserError
from raybench.evidence import Request, certify, verify
from raybench.evidence.folder import PAGE, SUMS, digest_of, seal
from raybench.evidence.hashes import hash_file, hash_pixels, hash_weights
from raybench.evidence.page import page as render
from raybench.evidence.paths import without_paths
from raybench.progress import SILENT
from raybench.scenario import image_store
from raybench.storage import tables
from raybench.storage.runs import mark_newest
from raybench.storage.store import Store

FORGET = 200  # ids 0 to 199, as in the made-up losses
RUN = "made_up/0123abcd"
NEAR = (0.875, 0.99, 0.885, 0.535, 0.705, 0.85, 0.93)
KNOWS = (0.97, 0.99, 0.885, 0.68, 0.83, 0.95, 0.88)
WORSE = (0.99, 0.80, 0.60, 0.76, 0.92, 1.00, 0.70)
REQUEST = Request("R-2026-17", "A. Smith", "2026-01-31")


@pytest.fixture(scope="module")
def project(tmp_path_factory, own_methods):
    """Return a user's folder: images with a manifest, ids to forget, and an experiment."""
    folder = tmp_path_factory.mktemp("home") / "anna" / "project"
    (folder / "photos").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(FORGET + 60):
        Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)).save(folder / "photos" / f"{number}.png")
    lines = [f"{n}.png,{'ab'[n % 2]},{'train' if n < FORGET + 30 else 'test'}" for n in range(FORGET + 60)]
    (folder / "photos" / "list.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    (folder / "forget.txt").write_text("".join(f"{n}\n" for n in range(FORGET)))
    return folder


@pytest.fixture(scope="module")
def experiment(project, own_methods):
    return {
        "name": "made_up",
        "data": {"dataset": "manifest", "root": str(project / "photos"), "view": {"size": 4}},
        "forget": {"rule": "ids", "file": str(project / "forget.txt")},
        "model": {"name": "cnn", "width": 4},
        "methods": {"near": {"method": "finetune"}, f"{own_methods}.crash": {}},
    }


@pytest.fixture(scope="module")
def storage(project, experiment, make_run, made_up_losses):
    """Put a finished made-up run on a storage, with its images and models."""
    store = Store(str(project.parent / "runs"))
    methods = {"near": [NEAR] * 3, "knows": [KNOWS] * 3, "worse": [WORSE] * 3}
    put(store, RUN, make_run({**methods, "broken": "OSError: /home/anna/project/x"}), experiment, made_up_losses)
    put(store, "few/0123abcd", make_run({"near": [NEAR]}, retrained=[NEAR] * 2), experiment, made_up_losses)
    mark_newest(store, RUN)
    return store


def put(store, run, made, experiment, made_up_losses):
    parsed, text = experiment_of(json.loads(json.dumps(experiment)))
    images = image_store.load(parsed.data, store, SILENT)
    forgotten = made.models.assign(recipe=None)
    accuracy = made.metrics[(made.metrics.metric == "accuracy") & (made.metrics.split == "forget")]
    losses = made_up_losses(forgotten.to_dict("records"), accuracy.set_index("model").value.to_dict())
    frames = {
        **made._asdict(),
        "samples": losses.assign(split="forget"),
        "splits": pd.DataFrame({"id": range(FORGET + 60), "role": ["forget"] * FORGET + ["retain"] * 60}),
    }
    for name, frame in frames.items():
        content = tables.cast(name, pa.Table.from_pandas(frame, preserve_index=False))
        store.write_table(f"{run}/tables/{name}.parquet", content)
    manifest = {
        "raybench": "0.1",
        "raybench_commit": "abc",
        "python": "3.11",
        "packages": {"torch": "2.9"},
        "started": "2026-01-01T00:00:00+0000",
        "artifacts": {"data": image_store.publish(images, store), "splits": "artifacts/splits/5.parquet"},
        "sweep": {"searched": []},
        "experiment": text,
    }
    store.write_json(f"{run}/manifest.json", manifest)
    for number, row in enumerate(made.models.to_dict("records")):
        torch.manual_seed(number)
        store.write_archive(f"artifacts/models/{row['model']}.pt", models.to_bytes(models.small_cnn(2, 3, 4)))


@pytest.fixture(scope="module")
def certified(storage, project, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence") / "R-2026-17"
    certify(storage, "made_up", "knows", folder, REQUEST)
    return folder


@pytest.fixture
def copy(certified, tmp_path):
    return shutil.copytree(certified, tmp_path / "copy")


def failed(folder, **options):
    return {check.name: check.text for check in verify(folder, **options) if not check.ok}


# -- what is in the folder ---------------------------------------------------------------------------------------------


def test_the_page_says_the_verdict_first_and_who_asked(certified):
    page = (certified / "evidence.html").read_text()
    body = page[page.index("<main>") :]
    assert body.index("NOT forgotten: the model still remembers at least") < 100
    for text in ("R-2026-17", "2026-01-31", "A. Smith", "Signature", "Not tested", "Threat model", "classifies 97.0 %"):
        assert text in page, text
    assert "1 - accuracy on forget" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("method", "beginning", "first"),
    [
        ("near", "Forgotten, as far as this audit can tell: at most ", None),
        ("knows", "NOT forgotten: the model still remembers at least ", None),
        ("worse", "NOT forgotten: ", "WORSE THAN DOING NOTHING: its mean distance to the models that never saw"),
    ],
)
def test_the_verdict_in_plain_words(storage, tmp_path, method, beginning, first):
    record = certify(storage, "made_up", method, tmp_path / "out", REQUEST)
    assert record["verdict"]["sentence"].startswith(beginning)
    page = (tmp_path / "out" / "evidence.html").read_text()
    assert bool(record["verdict"]["first"]) == (first is not None)
    if first is not None:
        assert page.index(first) < page.index(beginning)
        assert any(line.startswith("The method damaged the model: RA -1") for line in record["verdict"]["damage"])
    assert failed(tmp_path / "out") == {}


def test_every_forgotten_image_has_a_hash_of_its_file_and_of_its_pixels(certified, project):
    lines = (certified / "forget" / "images.csv").read_text().splitlines()
    assert len(lines) == FORGET + 1
    row, file, pixels = lines[8].split(",")
    assert (row, file) == ("7", hash_file(project / "photos" / "7.png"))
    assert len(pixels) == 64
    record = json.loads((certified / "evidence.json").read_text())
    assert "the bytes of each image file, and the pixels" in record["forgotten"]["hashed"]
    assert record["forgotten"]["manifest"] == {"file": "list.csv", "sha256": hash_file(project / "photos" / "list.csv")}


def test_the_hash_of_pixels_is_as_documented():
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert hash_pixels(pixels) == hashlib.sha256(b"2 2 3\n" + bytes(range(12))).hexdigest()


def test_weights_have_the_same_hash_in_any_order_and_another_if_a_bit_changes():
    model = models.small_cnn(2, 3, 4)
    weights = {**model.state_dict(), "count": torch.tensor(3)}
    assert hash_weights(dict(reversed(weights.items()))) == hash_weights(weights)
    assert hash_weights({**weights, "count": torch.tensor(4)}) != hash_weights(weights)


def test_the_experiment_runs_from_inside_the_folder(certified, own_methods):
    folder = certified / "experiment"
    content = yaml.safe_load((folder / "experiment.yaml").read_text())
    assert content["forget"]["file"] == "forget.txt"
    assert (folder / "forget.txt").read_text().split() == [str(n) for n in range(FORGET)]
    assert content["data"]["root"] == "photos"
    assert (folder / f"{own_methods}.py").is_file()
    record = json.loads((certified / "evidence.json").read_text())
    assert record["experiment"]["needed"] == [{"key": "data.root", "file": "photos", "sha256": None}]
    assert "`photos` (`data.root`)" in (certified / "README.md").read_text()
    parsed, _ = load_experiment(folder / "experiment.yaml")
    assert parsed.forget.model_extra["file"].endswith("experiment/forget.txt")


def test_no_path_of_the_machine_is_in_the_folder(certified, project, storage):
    names = [str(project), "/home/anna", str(project.parent), storage.uri]
    for path in certified.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += str(pq.read_table(path).to_pydict()).encode() + str(pq.read_schema(path).metadata).encode()
            for name in names:
                assert name.encode() not in content, (path.name, name)


def test_paths_are_shortened_and_other_slashes_stay():
    text = (
        "OSError: '/home/anna/x.pt' of s3://bucket/runs/a, ~/data/y.csv, 3/4, made_up/0123abcd and/or https://x.org/a"
    )
    expected = "OSError: 'x.pt' of s3://bucket/runs/a, y.csv, 3/4, made_up/0123abcd and/or https://x.org/a"
    assert without_paths({"a": [text]}) == {"a": [expected]}


def test_the_same_run_and_request_give_the_same_folder(certified, storage, tmp_path):
    certify(storage, RUN, "knows", tmp_path / "again", REQUEST)
    assert (tmp_path / "again" / "SHA256SUMS").read_text() == (certified / "SHA256SUMS").read_text()


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "method", "request_", "message"),
    [
        ("made_up", "broken", REQUEST, "'broken' failed, so there is nothing to certify: OSError"),
        ("made_up", "nearr", REQUEST, "did you mean 'near'"),
        ("few", "near", REQUEST, "has no verdict, so nothing can be certified: 2 retrained models"),
        ("nowhere", "near", REQUEST, "unknown run"),
        ("made_up", "near", Request(date="31.1.2026"), "must be a date such as 2026-01-31"),
    ],
)
def test_without_a_verdict_nothing_is_written(storage, tmp_path, run, method, request_, message):
    with pytest.raises(UserError, match=message):
        certify(storage, run, method, tmp_path / "out", request_)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(storage):
    with pytest.raises(UserError, match="--out '/dev/null/out' cannot be written: File exists"):
        certify(storage, "made_up", "near", Path("/dev/null/out"))


def test_evidence_is_never_overwritten(storage, certified):
    with pytest.raises(UserError, match="evidence is never overwritten"):
        certify(storage, "made_up", "near", certified)


def test_a_folder_without_evidence_is_refused(tmp_path):
    with pytest.raises(UserError, match="is no evidence folder"):
        verify(tmp_path)


# -- verify ------------------------------------------------------------------------------------------------------------


def command(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["raybench", *map(str, words)])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().out


def test_both_commands_and_sha256sum(storage, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    code, printed = command(
        monkeypatch, capsys, "certify", "made_up", "--method", "near", "--out", out, "--storage", storage.uri
    )
    assert code == 0
    assert printed.startswith("Forgotten, as far as this audit can tell")
    digest = printed.split("digest")[1].split()[0]
    code, printed = command(monkeypatch, capsys, "verify", out, "--digest", digest)
    assert (code, printed.count("ok  "), printed.splitlines()[-1]) == (0, 7, "verified")
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=out, check=False).returncode == 0
    (out / "README.md").write_text("other")
    code, printed = command(monkeypatch, capsys, "verify", out)
    assert code == 1
    assert "FAILED  files    README.md is changed" in printed
    assert printed.splitlines()[-1] == "NOT verified: files, digest failed"


def rewrite(path, function):
    path.write_text(function(path.read_text()))


def change_table(folder):
    path = folder / "tables" / "losses.parquet"
    frame = pd.read_parquet(path)
    frame.loc[frame.model.str.startswith("knows"), "loss"] *= 3
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)


def change_metric(folder):
    path = folder / "tables" / "metrics.parquet"
    frame = pd.read_parquet(path)
    own = (frame.model == "knows-1") & (frame.metric == "accuracy") & (frame.split == "test")
    frame.loc[own, "value"] = 0.9999
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)


def replace_model(folder):
    torch.manual_seed(99)
    (folder / "model" / "unlearned.pt").write_bytes(models.to_bytes(models.small_cnn(2, 3, 4)))


TAMPERED = {
    "a number on the page": (
        lambda folder: rewrite(folder / "evidence.html", lambda text: text.replace("97.0 %", "87.0 %")),
        {"files": "evidence.html is changed", "digest": "evidence.html prints", "page": "says something else"},
    ),
    "another model": (
        replace_model,
        {"files": "model/unlearned.pt is changed", "model": "is not the model that was certified"},
    ),
    "an image less": (
        lambda folder: rewrite(folder / "forget/images.csv", lambda text: text[: text.rindex("\n199,") + 1]),
        {"files": "forget/images.csv is changed", "images": "has 199 images, but 200 were forgotten"},
    ),
    "an extra file": (
        lambda folder: (folder / "model" / "other.pt").write_bytes(b"x"),
        {"files": r"model/other.pt is not listed \(extra file\)"},
    ),
    "a missing file": (lambda folder: (folder / "README.md").unlink(), {"files": "README.md is missing"}),
    "changed losses": (
        change_table,
        {"files": "tables/losses.parquet is changed", "verdict": "the tables give another"},
    ),
    "a changed metric": (change_metric, {"files": "tables/metrics.parquet is changed", "verdict": "another .*TA"}),
    "another record": (
        lambda folder: rewrite(folder / "evidence.json", lambda text: text.replace("NOT forgotten", "Forgotten")),
        {"files": "evidence.json is changed", "verdict": "another sentence", "page": "says something else"},
    ),
    "a broken record": (
        lambda folder: (folder / "evidence.json").write_text("{}"),
        {"files": "evidence.json is changed", "record": "is not evidence of raybench"},
    ),
    "a link": (
        lambda folder: (folder / "etc").symlink_to("/etc"),
        {"files": "etc: is a link, which leads out of the folder"},
    ),
    "a path out of the folder": (
        lambda folder: rewrite(folder / "SHA256SUMS", lambda text: f"{'0' * 64}  ../../etc/passwd\n{text}"),
        {"files": r"the path '../../etc/passwd' leads out of the folder"},
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_was_tampered_with_is_named(copy, name):
    tamper, expected = TAMPERED[name]
    tamper(copy)
    problems = failed(copy)
    for check, message in expected.items():
        assert check in problems, problems
        assert re.search(message, problems[check]), problems[check]


def reseal(folder):
    """Do what a careful forger does: hash everything again."""
    record = json.loads((folder / "evidence.json").read_text())
    record["files"] = {name: hash_file(folder / name) for name in record["files"]}
    (folder / "evidence.json").write_text(json.dumps(record))
    (folder / PAGE).write_text(render(record))
    (folder / SUMS).unlink()
    seal(folder)


def test_a_forger_who_hashes_again_must_also_change_tables_and_model(copy):
    rewrite(copy / "evidence.json", lambda text: text.replace("NOT forgotten", "Forgotten"))
    reseal(copy)
    assert set(failed(copy)) == {"verdict"}


def test_only_the_digest_on_a_signed_copy_finds_a_folder_that_was_rewritten_as_a_whole(copy, certified):
    signed = digest_of(certified)[1]
    assert failed(certified, digest=signed.upper()) == {}
    rewrite(copy / "evidence.json", lambda text: text.replace("A. Smith", "B. Jones"))
    reseal(copy)
    assert failed(copy) == {}
    assert set(failed(copy, digest=signed)) == {"digest"}


def test_unsafe_paths_in_the_record_are_refused(copy):
    record = json.loads((copy / "evidence.json").read_text())
    record["files"]["../../x"] = "0" * 64
    (copy / "evidence.json").write_text(json.dumps(record))
    assert "the path '../../x' leads out of the folder" in failed(copy)["record"]


def test_a_model_with_code_in_it_is_not_unpickled(copy):
    class Harm:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    torch.save({"x": Harm()}, copy / "model" / "unlearned.pt")
    record = json.loads((copy / "evidence.json").read_text())
    record["models"]["unlearned"]["sha256"] = hash_file(copy / "model" / "unlearned.pt")
    (copy / "evidence.json").write_text(json.dumps(record))
    reseal(copy)
    assert "cannot be read safely" in failed(copy)["model"]


def test_images_that_someone_holds_are_found_whatever_they_are_called(certified, project, tmp_path):
    held = tmp_path / "held"
    held.mkdir()
    for number in range(FORGET):  # in another order, under other names, and without the manifest
        shutil.copy(project / "photos" / f"{number}.png", held / f"{(number * 7) % FORGET}-renamed.png")
    for data in (project / "photos", held):
        checks = {check.name: check for check in verify(certified, data=data)}
        assert checks["data"].ok
        assert f"all {FORGET} images to forget are in" in checks["data"].text
        assert "by the bytes of their file" in checks["data"].text
    (held / "0-renamed.png").unlink()
    Image.open(held / "7-renamed.png").save(held / "7-renamed.png", compress_level=0)  # other bytes, same pixels
    assert failed(certified, data=held)["data"].startswith(f"2 of {FORGET} images to forget are not in")


def test_the_deployed_model_is_compared_by_its_weights(certified, storage, tmp_path):
    record = json.loads((certified / "evidence.json").read_text())
    weights = models.read_weights(storage.read_archive(f"artifacts/models/{record['models']['unlearned']['model']}.pt"))
    torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "deployed.pt")
    assert failed(certified, model=tmp_path / "deployed.pt") == {}
    torch.manual_seed(5)
    torch.save(models.small_cnn(2, 3, 4).state_dict(), tmp_path / "deployed.pt")
    assert "has other weights than the certified model" in failed(certified, model=tmp_path / "deployed.pt")["model"]
