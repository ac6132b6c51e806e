"""The gap to ideals: known numbers, whose model it is of, and what leaves none."""

import math

import pytest

from raybench.engine.audit import objective, reference
from raybench.metrics.functions.gaps import average_gap_in_points
from raybench.scoring.average_gap import ideal_gap_rows


def rows_of(model, kind, *, forget, retain, test, attack, half=0.02):
    identity = {"model": model, "name": model, "kind": kind, "method": kind, "seed": 0, "original": 0, "setting": ""}
    values = {
        ("accuracy", "forget"): forget,
        ("accuracy", "retain"): retain,
        ("accuracy", "test"): test,
        ("mia_auc", None): attack,
    }
    return [
        {**identity, "metric": metric, "split": split, "value": value, "low": value - half, "high": value + half}
        for (metric, split), value in values.items()
    ]


ORIGINAL = rows_of("o", "original", forget=1.0, retain=0.98, test=0.85, attack=0.7)
MINE = rows_of("m", "unlearned", forget=0.8, retain=0.95, test=0.83, attack=0.48)


def test_the_gap_is_the_mean_of_four_absolute_differences_in_points():
    found = {row["model"]: row for row in ideal_gap_rows([*ORIGINAL, *MINE])}
    assert found["m"]["value"] == pytest.approx(100 * (0.03 + 0.03 + 0.02 + 0.02) / 4)
    assert found["o"]["value"] == pytest.approx(100 * (0.15 + 0 + 0 + 0.2) / 4)
    assert {row["metric"] for row in found.values()} == {"gap_to_ideal"}


def test_the_interval_joins_the_parts_and_the_original_has_none_to_itself():
    found = {row["model"]: row for row in ideal_gap_rows([*ORIGINAL, *MINE])}
    three_pairs_and_an_attack = 100 * 0.02 * math.sqrt(3 * 2 + 1) / 4
    assert found["m"]["high"] == pytest.approx(found["m"]["value"] + three_pairs_and_an_attack)
    assert found["m"]["low"] == pytest.approx(max(0, found["m"]["value"] - three_pairs_and_an_attack))
    assert found["o"]["high"] == pytest.approx(found["o"]["value"] + 100 * 0.02 * math.sqrt(2 + 1) / 4)


@pytest.mark.parametrize("missing", range(4))
def test_a_model_that_lacks_a_part_has_no_gap_and_the_others_keep_theirs(missing):
    broken = [{**row, "value": None} if i == missing else row for i, row in enumerate(MINE)]
    assert [row["model"] for row in ideal_gap_rows([*ORIGINAL, *broken])] == ["o"]


def test_without_the_original_there_is_no_utility_to_compare_with():
    assert ideal_gap_rows(MINE) == []


def test_a_part_without_an_interval_leaves_none():
    rows = [*ORIGINAL, *({**row, "low": None, "high": None} for row in MINE)]
    found = {row["model"]: row for row in ideal_gap_rows(rows)}
    assert (found["m"]["low"], found["m"]["high"]) == (None, None)
    assert found["m"]["interval"].startswith("none")


def test_the_sweep_minimizes_the_gap_that_the_rows_report():
    def audit(rows):
        values = {(row["metric"], row["split"]): row["value"] for row in rows}
        roles = {"forget": "forget", "retain": "retain", "validation": "test"}
        accuracies = {f"{role}_accuracy": values["accuracy", split] for role, split in roles.items()}
        return {**accuracies, "mia_auc": values["mia_auc", None]}

    mine, original = audit(MINE), audit(ORIGINAL)
    rows = {row["model"]: row["value"] for row in ideal_gap_rows([*ORIGINAL, *MINE])}
    assert objective("gap_to_ideal", mine, reference([], original)) == pytest.approx(rows["m"], rel=1e-12)
    retrained = {part: value - 0.1 for part, value in mine.items()}
    assert objective("gap_to_retrained", mine, reference([retrained])) == pytest.approx(
        average_gap_in_points([0.1] * 4)
    )
    assert average_gap_in_points([0.1] * 4) == pytest.approx(10)
