"""The evidence folder: its content, that it describes one model and is complete, and that its checkpoint loads."""

import hashlib
import io
import json
import math

import pandas as pd
import pytest
import torch
from rich.console import Console

from raybench import models as architectures
from raybench.pipeline.manifest import manifest
from raybench.progress import Reporter
from raybench.report.evidence import evidence, id_file, limits
from raybench.report.evidence_page import page
from raybench.report.threat_model import THREAT_MODEL
from raybench.report.write import write_report
from raybench.storage.store import Store

NEAR = [(0.875, 0.990, 0.880, 0.530, 0.700, 0.850, 0.93), (0.87, 0.991, 0.885, 0.54, 0.71, 0.86, 0.93)]
OVER = [(0.30, 0.990, 0.880, 0.300, 0.300, 0.400, 0.60)] * 2
MANIFEST = {
    "raybench": "0.1.0",
    "raybench_commit": "abc",
    "python": "3.11",
    "packages": {"torch": "2.9", "ray": None},
    "host": {"system": "Linux"},
    "started": "2026-01-01",
    "sweep": {"objective": "gap_to_retrained", "trials": 5},
    "experiment": "name: made_up\nforget: {rule: ids, ids: [7, 3]}\ndata: {dataset: digits}\n",
}
SPLITS = pd.DataFrame({"id": [7, 3, 1, 2, 9], "role": ["forget", "forget", "retain", "retain", "test"]})


@pytest.fixture
def content(make_run):
    """Build the evidence of a made-up run."""

    def build(methods, *, checkpoint=None, **options) -> dict:
        run = make_run(methods, **options)
        models = run.models.assign(hyperparameters='{"lr": 0.1, "epochs": 3}', recipe=None)
        return evidence("made_up", run.board(), run.metrics, models, SPLITS, {**MANIFEST, "checkpoint": checkpoint})

    return build


def written(evidence, **changes):
    return page({**evidence, "unlearned": {"file": "unlearned.pt", "sha256": "f00", "reason": None, **changes}})


def test_it_is_about_the_best_method_and_its_first_seed(content):
    done = content({"over": OVER, "near": NEAR})["unlearning"]
    assert (done["method"], done["seed"], done["model"]) == ("near", 1, "near-1")
    assert done["hyperparameters"] == {"lr": 0.1, "epochs": 3}
    assert done["cost"]["relative_cost"] == 0.05


def test_the_page_states_the_threat_model(content):
    assert f"## Threat model\n\n{THREAT_MODEL}\n" in written(content({"near": NEAR}))


def test_it_is_about_the_original_that_the_model_started_from(content):
    other = (0.98, 1.0, 0.88, 0.71, 0.88, 0.99, 0.81)
    done = content({"near": [*NEAR[:2], *NEAR[:2]]}, original=(other, (1.0, 1.0, 0.9, 0.8, 0.9, 1.0, 0.8)))
    assert (done["original"]["model"], done["original"]["number"], done["num_originals"]) == ("original-0", 0, 2)
    assert done["table"][0]["original"]["value"] == 0.98
    assert "compared over 2 originals" in written(done)
    assert "compared over" not in written(content({"near": NEAR}))


def test_the_forgotten_ids_are_named_in_order_with_the_hash_of_their_file(content):
    asked = content({"near": NEAR})["request"]
    assert asked["ids"] == [3, 7]
    assert id_file(asked["ids"]) == b"3\n7\n"
    assert asked["ids_sha256"] == hashlib.sha256(b"3\n7\n").hexdigest()
    assert asked["forget"] == {"rule": "ids", "ids": [7, 3]}
    assert asked["roles"] == {"forget": 2, "retain": 2, "test": 1}


def test_every_number_is_of_that_very_model_with_n_and_interval(content):
    measured = {(row["metric"], row["split"]): row for row in content({"near": NEAR})["metrics"]}
    accuracy = measured["accuracy", "forget"]
    assert (accuracy["value"], accuracy["low"], accuracy["high"], accuracy["n"]) == pytest.approx(
        (0.875, 0.845, 0.905, 100)
    )
    assert accuracy["gap"] == pytest.approx(0)
    assert all(isinstance(row["n"], int) for row in measured.values())
    assert all(row["value"] is not None or row["reason"] for row in measured.values())


def test_the_machine_readable_form_is_plain_json_without_nan(content):
    whole = content({"near": NEAR, "diverged": [(None,) * 7]})

    def refuse(name):
        raise AssertionError(name)

    assert json.loads(json.dumps(whole, allow_nan=False), parse_constant=refuse)["num_retrained"] == 6


def test_the_page_says_what_was_asked_done_measured_and_how_to_repeat_it(content):
    whole = content({"over": OVER, "near": NEAR}, checkpoint={"file": "mine.pt", "sha256": "abcd"})
    text, conclusion = written(whole), whole["conclusion"]
    assert conclusion["verdict"] in ("forgotten", "no difference")
    for part in (
        "Forget 2 of 4 training samples (rule ids, ids [7, 3])",
        "`mine.pt` (sha256 `abcd`)",
        "Method `near`, seed 1, at 5 % of the cost of one retraining",
        "lr 0.1, epochs 3",
        "unlearned.pt` (sha256 `f00`)",
        "| UA | 1 - accuracy on forget | 12.5 % [9.5 %, 15.5 %] | 0.0 % [",
        f"** (Verdict: {conclusion['verdict']}; residual memory of `near`, all runs.)",
        conclusion["plain"][-1],
        "separate the original from the retrained models",
        "power: with 6 retrained models",
        "raybench export made_up --method near",
        "torch 2.9; started 2026-01-01",
    ):
        assert part in text, part
    assert "ray None" not in text
    assert len(text.split()) < 700


def test_a_finding_about_the_best_method_is_on_the_page(content):
    text = written(content({"over": OVER}))
    assert "over: over-forgot (UA, MIA AUC, CR_f, k-NN_f)" in text
    assert "over: within the differences among retrained models (RA, TA)" in text


@pytest.mark.parametrize(
    ("retrained", "said"), [((), "There is no retrained model"), ((NEAR[0],), "There is one retrained model")]
)
def test_limits_name_the_missing_references(content, retrained, said):
    whole = content({"over": OVER}, retrained=retrained)
    assert any(said in limit for limit in whole["limits"])
    assert ("Verdict: withheld" if retrained else "No verdict: no method could be ranked") in written(whole)


def test_limits_say_what_is_not_known_of_a_given_checkpoint(content):
    given = {"file": "mine.pt", "sha256": "abcd"}
    mine, trained = content({"near": NEAR}, checkpoint=given), content({"near": NEAR})
    assert len(mine["limits"]) == len(trained["limits"]) + 2
    assert any("recipe of the retrained models is unknown" in limit for limit in mine["limits"])


def test_an_audit_that_could_not_see_the_originals_memory_says_that_it_says_nothing(make_run):
    board = make_run({"near": NEAR}, original=NEAR[0]).board()
    assert any("says nothing about forgetting them" in text for text in limits(board, from_checkpoint=False))


def test_a_run_without_a_ranked_method_says_so(content):
    whole = content({"broken": "RuntimeError: no such layer"})
    assert whole["unlearning"] is None
    assert whole["metrics"] == []
    assert "No method produced a model that could be ranked" in written(whole, file=None, reason="none")


# -- a real run --------------------------------------------------------------------------------------------------------


@pytest.fixture
def report(trained, tables_folder, tmp_path):
    """Copy what the report reads into a store of the test's own, and return how to report on it."""
    source = trained.scenario.store
    store = Store(str(tmp_path))
    for table in ("metrics", "models", "trials", "splits"):
        store.write_bytes(f"tiny/tables/{table}.parquet", (tables_folder / f"{table}.parquet").read_bytes())
    for row in store.read_table("tiny/tables/models.parquet").to_pylist():
        key = f"artifacts/models/{row['model']}.pt"
        if source.exists(key):
            store.write_bytes(key, source.read_bytes(key))
    store.write_json("tiny/manifest.json", manifest(trained.scenario.experiment, "name: tiny\n", {}))

    def go():
        write_report(store, "tiny", Reporter(Console(file=io.StringIO()), verbosity=-1))
        return store, store.read_json("tiny/evidence/evidence.json")

    return go


def test_the_checkpoint_of_a_real_run_loads_into_the_users_own_class_and_is_the_model_that_was_measured(
    report, trained
):
    store, found = report()
    content = store.read_bytes("tiny/evidence/unlearned.pt")
    assert hashlib.sha256(content).hexdigest() == found["unlearned"]["sha256"]
    mine = architectures.small_cnn(10, 1, 4)
    mine.load_state_dict(torch.load(io.BytesIO(content), weights_only=True))
    x, y = trained.scenario.split("forget").batch(range(40), generator=None)
    with torch.no_grad():
        share = float((mine.eval()(x).argmax(1) == y).double().mean())
    accuracy = next(r for r in found["metrics"] if (r["metric"], r["split"]) == ("accuracy", "forget"))
    assert share == pytest.approx(accuracy["value"])


def test_the_folder_is_whole_and_writing_it_again_changes_nothing(report):
    store, found = report()
    names = ("evidence.json", "evidence.md", "forget_ids.txt", "report.md", "unlearned.pt")
    before = {name: store.read_bytes(f"tiny/evidence/{name}") for name in names}
    assert len(before["forget_ids.txt"].split()) == found["request"]["count"] == 40
    assert before["report.md"] == store.read_bytes("tiny/report.md")
    store.delete(f"artifacts/models/{found['unlearning']['model']}.pt")  # the folder keeps what it has
    report()
    assert {name: store.read_bytes(f"tiny/evidence/{name}") for name in names} == before


def test_weights_that_are_gone_leave_a_reason_and_no_file_of_another_model(report):
    store, found = report()
    store.write_bytes("tiny/evidence/unlearned.pt", b"of an earlier run")
    store.write_json("tiny/evidence/evidence.json", {**found, "unlearned": {"model": "another"}})
    store.delete(f"artifacts/models/{found['unlearning']['model']}.pt")
    _, now = report()
    assert now["unlearned"] == {"file": None, "reason": "its weights are no longer in the store"}
    assert not store.exists("tiny/evidence/unlearned.pt")


def test_every_metric_of_the_run_is_in_the_evidence(report, tables_folder):
    _, found = report()
    frame = pd.read_parquet(tables_folder / "metrics.parquet")
    own = frame[frame.model == found["unlearning"]["model"]]
    assert len(found["metrics"]) == len(own)
    assert [row["metric"] for row in found["metrics"]] == own.metric.tolist()
    assert all(row["value"] is None or math.isfinite(row["value"]) for row in found["metrics"])


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"tuning_request": "separate", "searched": ["near"]}, "on another deletion request of the same kind and size"),
        ({"tuning_request": "same", "searched": ["near"]}, "with the same retrained models (if any) that judge"),
        ({"tuning_request": "same", "searched": ["other"]}, "Best of the methods that were run.\n"),
    ],
)
def test_the_page_says_what_the_search_saw(content, sweep, words):
    done = content({"near": NEAR})
    done["unlearning"]["sweep"] = done["unlearning"]["sweep"] | sweep
    text = written(done)
    assert words in text
    assert ("were selected by" in text) == (sweep["searched"] == ["near"])
