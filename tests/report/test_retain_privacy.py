"""The section on retain samples, and the threat model in the documentation and on the evidence page."""

from pathlib import Path

import pandas as pd
import pytest

from raybench.metrics.functions.intervals import mean_interval
from raybench.report.retain_privacy import LEGEND, retain_privacy
from raybench.report.threat_model import THREAT_MODEL

ROOT = Path(__file__).parents[2]
AUCS = {
    ("original", "original"): (0.66,),
    ("retrained", "retrained"): (0.69, 0.71, 0.70),
    ("unlearned", "a"): (0.80, 0.82),
    ("unlearned", "b"): (None,),
}


def rows(values=AUCS):
    return pd.DataFrame(
        [
            {"metric": name, "kind": kind, "method": method, "value": value, "low": 0.6, "high": 0.7}
            for (kind, method), models in values.items()
            for value in models
            for name in ("retain_exposure_auc", "retain_exposure_tpr_at_fpr_0.01")
        ]
    )


def test_one_row_for_the_original_the_retrained_models_and_each_method():
    section = retain_privacy(rows(), ["b", "a"])
    assert [row[0] for row in section.rows] == ["original (before)", "retrained", "b", "a"]
    original, retrained, b, a = section.rows
    assert original[1:3] == ["0.660 [0.600, 0.700]", "-0.040 [-0.090, +0.010]"]  # 4.303 x 0.01 x sqrt(4 / 3)
    interval = mean_interval([0.69, 0.71, 0.70])
    assert retrained[1:3] == [f"0.700 [{interval.low:.3f}, {interval.high:.3f}]", "-"]
    assert b[1:] == ["-"] * 4
    assert a[1].startswith("0.810 [")
    assert a[2].startswith("+0.110 [")
    assert section.markdown().endswith(LEGEND)


def test_an_interval_stays_within_the_range_of_the_attack():
    section = retain_privacy(rows({("unlearned", "a"): (0.99, 0.9)}), ["a"])
    assert section.rows[-1][1] == "0.945 [0.373, 1.000]"


def test_without_retrained_models_there_is_no_gap_and_without_the_metric_no_section():
    values = {key: models for key, models in AUCS.items() if key[0] != "retrained"}
    section = retain_privacy(rows(values), ["a"])
    assert [row[0] for row in section.rows] == ["original (before)", "a"]
    assert all(row[2] == "-" for row in section.rows)
    assert retain_privacy(rows().assign(metric="accuracy"), ["a"]) is None


@pytest.mark.parametrize("page", ["bring-your-own.md", "power.md"])
def test_the_documentation_has_the_threat_model_word_for_word(page):
    assert THREAT_MODEL in " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())
