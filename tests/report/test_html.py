"""`report.html`: well-formed, complete, self-contained, the same for the same tables, and it works in a browser."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape

import numpy as np
import pandas as pd
import pytest
from well_formed import Page

from raybench.report.html import RunFrames, as_html
from raybench.storage import tables

MARKUP = 'a<script>alert("x")</script>&$b$'
GOOD = (0.872, 0.992, 0.885, 0.535, 0.705, 0.855, 0.93)
BAD = (0.99, 0.999, 0.88, 0.70, 0.88, 0.98, 0.82)
MANIFEST = {
    "raybench": "0.1.0",
    "raybench_commit": None,
    "packages": {"torch": "2.9"},
    "host": {"system": "Linux", "cpus": 2, "gpus": []},
    "started": "2026-01-01T00:00:00",
    "experiment": "name: made_up\ndata:\n  dataset: digits\n",
    "sweep": {"objective": "gap_to_retrained", "tuning_request": "separate", "searched": ["good"]},
}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def samples_of(models):
    rng = np.random.default_rng(0)
    rows = [
        {"model": model, "split": split, "id": number, "loss": loss, "margin": -np.log(loss)}
        for model in models.model
        for split in ("forget", "unseen")
        for number, loss in enumerate(rng.lognormal(0, 1, 40))
    ]
    return tables.table("samples", rows).to_pandas()


def trials_of(methods):
    rows = []
    for method in methods:
        for number in range(4):
            for epoch in range(3):
                common = {"trial": f"{method}{number}", "method": method, "epoch": epoch, "last": epoch == 2}
                accuracies = dict.fromkeys(("retain_accuracy", "forget_accuracy", "validation_accuracy"), 0.9)
                phase = {"phase": "final" if number == 3 else "search", "chosen": number == 1, "status": "finished"}
                settings = {"hyperparameters": json.dumps({"lr": 0.1 * number, "epochs": 3})}
                rows.append({**common, **accuracies, **phase, **settings, "objective": float(number), "seed": 0})
    return rows


def coverage_and_transfer(metrics):
    models = metrics.drop_duplicates("model")[["model", "name", "kind", "method", "seed", "original"]]
    extra = [
        {**row, "metric": metric, "split": split, "setting": setting, "value": 0.9, "gap": 0.0}
        for row in models.to_dict("records")
        for metric, split, setting in (
            ("coverage", "forget", "alpha=0.1"),
            ("coverage", "forget", "alpha=0.2"),
            ("downstream_knn", "faces", ""),
        )
    ]
    return pd.concat([metrics, tables.table("metrics", extra).to_pandas()], ignore_index=True)


@pytest.fixture(scope="module")
def full(make_run):
    """Return a run with all tables, a failed method, and markup in a name."""
    methods = {"good": [GOOD] * 2, "bad": [BAD, GOOD], MARKUP: [BAD] * 2, "broken": "RuntimeError: <b>no layer</b>"}
    run = make_run(methods)
    trials = pd.concat([run.trials, tables.table("trials", trials_of(["good", "bad"])).to_pandas()], ignore_index=True)
    models = run.models.assign(hyperparameters=json.dumps({"lr": 0.1, "epochs": 3, "note": "<i>"}))
    exposure = [
        {"method": method, "id": number, "exposure": number / 60, "confidence": number - 30.0}
        | {"original_confidence": 5.0, "retrained_confidence": -800.0}
        for method in ("original", "good", MARKUP)
        for number in range(60)
    ]
    search = [
        {"method": "good", "objective": "gap_to_retrained", "trials": n, "expected_best": 3.0 - n, "chosen_value": 0.5}
        | {"chosen_again": 1.0, "runs_again": 2}
        for n in (1, 2, 3)
    ]
    paper = {"source": "p", "paper_table": "p_1", "dataset": "CIFAR-10", "metric": "accuracy", "split": "forget"}
    reported = [{**paper, "method": "good", "unit": "percent", "reported": 90.0, "released": 91.5, "difference": -1.5}]
    metrics = coverage_and_transfer(run.metrics)
    population = [
        {"model": "p-good", "kind": "population", "method": "good", "metric": metric, "value": value}
        for metric, value in (("epsilon_ceiling", 3.0), ("epsilon_cross_fitted_median_null", 0.5))
    ]
    metrics = pd.concat([metrics, tables.table("metrics", population).to_pandas()], ignore_index=True)
    samples = samples_of(models)
    epsilons = [{"model": "p-good", "split": "forget", "id": n, "epsilon": n / 10} for n in range(30)]
    epsilons[0]["epsilon"] = float("inf")
    return RunFrames(
        MARKUP,
        run._replace(trials=trials).board(),
        MANIFEST,
        metrics,
        models,
        trials,
        samples=pd.concat([samples, tables.table("samples", epsilons).to_pandas()], ignore_index=True),
        exposure=tables.table("exposure", exposure).to_pandas(),
        search=tables.table("search", search).to_pandas(),
        reported=tables.table("reported", reported).to_pandas(),
    )


@pytest.fixture(scope="module")
def page(full):
    return as_html(full)


def plain(run):
    return RunFrames("plain", run.board(), {**MANIFEST, "sweep": {"objective": "none"}}, *run[:3])


def test_the_page_is_well_formed_and_every_id_is_unique_and_every_reference_resolves(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    local = {reference.removeprefix("#") for reference in parsed.references if reference.startswith("#")}
    assert local <= set(parsed.ids)
    assert [r for r in parsed.references if not r.startswith("#")] == ["data:,"]


def test_every_section_is_there_in_order(page):
    sections = re.findall(r'<section id="([^"]+)"', page)
    assert sections == [
        "summary",
        "gaps",
        "tradeoff",
        "distributions",
        "exposure",
        "coverage",
        "transfer",
        "epsilon",
        "search",
        "training",
        "reported-numbers",
        "settings-section",
        "provenance",
    ]
    assert page.count("<svg") == 14  # two each: gaps, distributions, search; none: settings, provenance


def test_the_page_needs_no_network_and_is_small(page):
    assert set(re.findall(r"https?://[^\s\"'<)]+", page)) <= {
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/2000/svg",
    }
    assert "@import" not in page
    assert len(page.encode()) < 1e6


def test_names_and_messages_are_shown_as_text(page):
    parsed = Page(page)
    assert parsed.tags.count("script") == 1
    assert "b" not in parsed.tags
    assert "i" not in parsed.tags
    assert "RuntimeError: <b>no layer</b>" in parsed.text
    assert "&amp;$b$" in page
    assert not re.search(r"\bnan\b", parsed.text, flags=re.IGNORECASE)


def test_the_same_tables_give_the_same_bytes(full, page):
    assert as_html(full) == page


def test_a_section_without_data_is_left_out(make_run):
    run = make_run({"good": [GOOD] * 2, "bad": [BAD] * 2})
    text = as_html(plain(run._replace(memory=None)))  # an older schema: no residual memory
    assert re.findall(r'<section id="([^"]+)"', text) == ["summary", "gaps", "tradeoff", "provenance"]
    assert "memory left" not in re.findall("<thead>.*?</thead>", text)[0]
    Page(text)


@pytest.mark.parametrize("retrained", [0, 1, 2])
def test_runs_with_few_references_or_one_seed_are_shown(make_run, retrained):
    others = [tuple(np.array(GOOD) + 0.01 * number) for number in range(retrained)]
    run = make_run({"good": [GOOD], "broken": "it diverged"}, retrained=others)
    text = as_html(plain(run))
    Page(text)
    assert "No verdict on forgetting" in text
    assert not re.search(r"\bnan\b", text, flags=re.IGNORECASE)


def test_a_run_in_which_every_method_failed_is_shown(make_run):
    text = as_html(plain(make_run({"broken": "it diverged"})))
    Page(text)
    assert "it diverged" in text


def sixty(make_run):
    """Return a run with sixty methods, made of one: building so many rows takes long."""
    run = make_run({"good": [GOOD] * 2})
    board, names = run.board(), [f"method_{number}" for number in range(60)]
    good = next(row for row in board.rows if row.name == "good")
    rows = [replace(good, name=name, rank=number + 1) for number, name in enumerate(names)]
    board = replace(board, rows=(*board.rows[:2], *rows))
    models = [run.models.assign(method=name, model=run.models.model + name) for name in names]
    models = pd.concat([run.models, *(part[part.kind == "unlearned"] for part in models)], ignore_index=True)
    trials = tables.table("trials", trials_of(names[:8])).to_pandas()
    return RunFrames("many", board, MANIFEST, run.metrics, models, trials, samples=samples_of(models))


@pytest.mark.slow
def test_sixty_methods_fit(make_run):
    text = as_html(sixty(make_run))
    assert len(text.encode()) < 5e6
    assert text.count("<tr data-verdict") == 62
    Page(text)


def browse(path, *flags):
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    profile = f"--user-data-dir={path.parent / 'profile'}"
    return subprocess.run([*command, profile, *flags, path.as_uri()], capture_output=True, text=True, timeout=120)


SORT = """
<script>
const names = (id) => [...document.querySelectorAll(`#${id} tbody tr:not([hidden]) th`)].map((th) => th.dataset.value);
const button = [...document.querySelectorAll("#leaderboard thead button")].find((b) => b.textContent === "TA, %");
const orders = [];
for (let click = 0; click < 3; click += 1) { button.click(); orders.push(names("leaderboard")); }
const name = document.getElementById("filter-name");
name.value = "GOO";
name.dispatchEvent(new Event("input", { bubbles: true }));
orders.push(names("leaderboard"));
document.title = JSON.stringify(orders);
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the page is not tried in a browser")
def test_a_browser_shows_the_page_without_errors_and_sorts_and_filters(full, page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page.replace("</body>", SORT + "</body>"), encoding="utf-8")
    done = browse(path, "--dump-dom")
    assert "CONSOLE" not in done.stderr
    ascending, descending, initial, filtered = json.loads(unescape(re.search("<title>(.*?)</title>", done.stdout)[1]))
    accuracy = {row.name: row.cells["TA"].value for row in full.board.rows}
    values = [accuracy[name] for name in ascending[:-1]]
    assert values == sorted(values)
    assert ascending[-1] == descending[-1] == "broken"  # no value: last in both directions
    assert [accuracy[name] for name in descending[:-1]] == pytest.approx(values[::-1])
    assert initial == [row.name for row in full.board.rows]
    assert filtered == ["good"]
