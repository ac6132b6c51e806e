"""Figures and HTML of a run and of an audit, in a process without a display."""

import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from torch.utils.data import Subset

import raybench
from raybench.report.html import figures

MARKUP = "a<script>alert(1)</script>&$b$"


@pytest.fixture(scope="module")
def audit(digits):
    sets = {**digits.sets, "unseen": Subset(digits.sets["unseen"], range(300))}
    models = {"finetune": digits.finetuned, "retrain": digits.another, MARKUP: digits.original}
    return raybench.audit(
        digits.original, models, retrained=digits.retrained, metrics=["accuracy", "mia"], margin=0.2, **sets
    )


def test_every_figure_of_the_report_is_listed(finished):
    assert dir(finished.plot) == sorted(figures.__all__)
    assert "plot" in dir(finished)
    assert repr(finished.plot).startswith("figures of raybench run 'tiny/")


def test_each_figure_of_a_run_is_drawn_or_says_what_is_missing(finished):
    missing = {}
    for name in dir(finished.plot):
        try:
            assert isinstance(getattr(finished.plot, name)(), Figure)
        except raybench.UserError as error:
            missing[name] = str(error)
    assert set(missing) == {"coverage", "epsilon", "exposure", "memory", "reported", "transfer"}
    assert missing["reported"].endswith(
        "has no data for plot.reported: the experiment names no table of reported results (paper:)"
    )
    assert "there is no population of models" in missing["epsilon"]


def test_figures_of_an_audit_show_its_tables(audit):
    plots = {name: getattr(audit.plot, name)() for name in ("distributions", "exposure", "gaps", "memory", "tradeoff")}
    board = audit.leaderboard
    markers = [line for line in plots["memory"].axes[0].lines if len(line.get_xdata()) == 1]
    assert [line.get_xdata()[0] for line in markers] == pytest.approx(100 * board.memory_value.dropna())
    with pytest.raises(raybench.UserError, match=r"audit of .* has no data for plot\.search: no hyperparameters were"):
        audit.plot.search()
    titles = [axis.get_title(loc="left") for axis in audit.plot.gaps("TA", "UA").axes]
    assert titles == ["TA", "UA"]
    with pytest.raises(raybench.UserError, match="allowed: CKA_f, CR_f, MIA AUC"):
        audit.plot.gaps("ta")
    with pytest.raises(raybench.UserError, match="unknown value 'lost'; did you mean 'loss'"):
        audit.plot.distributions("lost")


def test_samples_of_an_audit_are_the_losses_and_margins_of_its_predictions(audit):
    rows = audit.samples.query("model == 'finetune-0' and split == 'test'")
    predictions = audit.predictions("finetune-0", "test")
    logits, labels = np.stack(predictions["logits"].to_numpy()).astype(float), predictions["label"].to_numpy()
    true = logits[np.arange(len(labels)), labels]
    others = logits.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    assert rows.margin.to_numpy() == pytest.approx(true - others.max(1), abs=1e-5)
    shifted = logits - logits.max(1, keepdims=True)
    loss = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]
    assert rows.loss.to_numpy() == pytest.approx(loss, abs=1e-5)
    assert set(audit.samples.split) == {"forget", "test", "unseen"}


def test_a_figure_shows_itself_in_a_notebook_and_ignores_the_settings_of_the_user(audit):
    figure = audit.plot.memory()
    image = figure._repr_png_()
    assert image.startswith(b"\x89PNG")
    assert figure.get_facecolor()[:3] == pytest.approx((1, 1, 1), abs=0.01)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "figure.facecolor": "black"}):
        assert audit.plot.memory()._repr_png_() == image
        assert matplotlib.rcParams["font.size"] == 30
    assert "matplotlib.pyplot" not in sys.modules


def test_tables_as_pyarrow_hold_the_rows_of_the_frames(finished, audit):
    for results, names in (
        (finished, ("metrics", "samples", "leaderboard")),
        (audit, ("metrics", "samples", "memory")),
    ):
        for name in names:
            table = results.table(name)
            assert table.schema.metadata[b"raybench_table"] == name.encode()
            pd.testing.assert_frame_equal(table.to_pandas(), getattr(results, name))
    for results in (finished, audit):
        with pytest.raises(raybench.UserError, match="did you mean 'metrics'"):
            results.table("metric")
    with pytest.raises(raybench.UserError, match="has no table 'reported' yet"):
        finished.table("reported")


def test_predictions_of_all_splits_are_those_of_each(finished, audit):
    for results in (finished, audit):
        everything = results.predictions("original").to_pandas()
        for split, rows in everything.groupby("split"):
            expected = results.predictions("original", split).to_pandas()
            pd.testing.assert_frame_equal(rows.reset_index(drop=True), expected)
        assert {"forget", "retain", "test", "unseen"} <= set(everything.split)


def test_html_has_the_verdicts_and_escapes_what_users_named(audit):
    text = audit._repr_html_()
    assert "<script>" not in text
    assert "a&lt;script&gt;alert(1)&lt;/script&gt;&amp;$b$" in text
    for word in ("forgotten", "remembers"):
        assert f'">{word}</td>' in text
    assert text.count("<tr>") == 1 + len(audit.leaderboard)
    assert all(line.split(":")[0] in text for line in audit.verdict)
    assert len(text) < 20_000
