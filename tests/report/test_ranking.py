"""What a rank is worth: its interval, the two best apart, trade-offs, and how large a gap a star finds."""

import io
import math
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from raybench.metrics.functions.statistics import gap_to_reference
from raybench.pipeline.manifest import manifest
from raybench.progress import Reporter
from raybench.report import ranking
from raybench.report.comparison import COLUMNS, SEVERAL
from raybench.report.leaderboard import Leaderboard
from raybench.report.render import as_rich
from raybench.report.verdict import details, limits_of_power, verdict
from raybench.report.write import write_report
from raybench.storage import report_schemas, tables
from raybench.storage.store import Store

NEAR = (0.87, 0.992, 0.885, 0.535, 0.705, 0.855, 0.93)
AUC = next(column for column in COLUMNS if column.title == "MIA AUC")
UA = next(column for column in COLUMNS if column.title == "UA")


def shifted(*points):
    """Values of one seed per number: that many points further from the retrained in RA, TA and the attack's AUC."""
    moves = (0, -1, -1, 1, 0, 0, 0)
    return [tuple(value + move * point / 100 for value, move in zip(NEAR, moves)) for point in points]


CLEAR = {"first": shifted(5.0, 5.2, 5.1), "second": shifted(8.1, 8.0, 8.2), "third": shifted(12.0, 12.2, 12.1)}
UNCLEAR = {"first": shifted(5, 9, 7), "second": shifted(8, 6, 8), "far": shifted(30.0, 30.1, 30.2)}


def by_name(board):
    return {row.name: row for row in board.rows}


def line(board, beginning):
    found = [line for line in [*verdict(board), *details(board)] if line.startswith(beginning)]
    return found[0] if found else None


def power_line(references):
    """Return the line on power for retrained models with the given values."""
    (text,) = limits_of_power(Leaderboard((), 5, 3, power=ranking.power(references, SEVERAL.level)))
    return text


def labels(board):
    stream = io.StringIO()
    Console(file=stream, width=200).print(as_rich(board, width=200))
    return stream.getvalue()


# -- the interval of a rank --------------------------------------------------------------------------------------------


def test_distant_methods_have_one_rank_and_close_ones_show_a_range(make_run):
    board = make_run(CLEAR).board()
    assert [(row.rank, row.rank_low, row.rank_high) for row in board.rows[2:]] == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
    assert re.search(r"^ 2 second ", labels(board), re.MULTILINE)
    rows = by_name(board := make_run(UNCLEAR).board())
    assert [(rows[name].rank_low, rows[name].rank_high) for name in UNCLEAR] == [(1, 2), (1, 2), (3, 3)]
    text = labels(board)
    for label in ("1-2 first", "1-2 second", "3 far"):
        assert re.search(rf"^ {label} ", text, re.MULTILINE)
    assert "3 seeds of one original do not rule out" in line(board, "ranks:")


def test_one_seed_leaves_no_interval_and_the_verdict_says_so(make_run):
    board = make_run({name: seeds[:1] for name, seeds in CLEAR.items()}).board()
    assert [(row.rank, row.rank_low, row.rank_high) for row in board.rows[2:]] == [
        (1, None, None),
        (2, None, None),
        (3, None, None),
    ]
    assert "one seed per method; their uncertainty is unknown" in line(board, "ranks:")
    assert line(board, "best two") is None


def test_a_method_that_lacks_a_seed_has_no_interval_and_may_stand_before_the_others(make_run):
    board = make_run({**CLEAR, "third": [*CLEAR["third"][:2], (None,) * 7]}).board()
    rows = by_name(board)
    assert (rows["third"].rank, rows["third"].rank_low, rows["third"].rank_high) == (3, None, None)
    assert (rows["first"].rank_low, rows["first"].rank_high) == (1, 2)
    assert (rows["second"].rank_low, rows["second"].rank_high) == (2, 3)
    assert line(board, "ranks:").endswith("no range because a seed is missing: third")


def test_where_every_method_lacks_a_seed_none_has_an_interval(make_run):
    nothing = (None,) * 7
    methods = {"first": [*CLEAR["first"][:2], nothing], "second": [nothing, *CLEAR["second"][1:]]}
    board = make_run(methods).board()
    assert [row.rank_low for row in board.rows[2:]] == [None, None]
    assert "no method has a gap for every seed" in line(board, "ranks:")
    assert line(board, "best two") is None  # one seed is shared


def test_a_single_method_is_compared_with_no_other(make_run):
    board = make_run({"first": CLEAR["first"]}).board()
    assert (board.rows[2].rank, board.rows[2].rank_low, board.rows[2].rank_high) == (1, 1, 1)
    for beginning in ("ranks:", "best two", "Pareto"):
        assert line(board, beginning) is None


gap = st.floats(0, 50).map(lambda value: round(value, 1))
many = st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(gap, min_size=n, max_size=n), min_size=1, max_size=6))


@settings(max_examples=60, deadline=None)
@given(many, st.randoms(use_true_random=False))
def test_every_rank_lies_in_its_interval_and_no_order_of_methods_or_seeds_matters(values, random):
    gaps = pd.DataFrame(values, index=[f"m{i}" for i in range(len(values))])
    spans, means = ranking.rank_ranges(gaps), gaps.mean(axis=1)
    for name, (low, high) in spans.items():
        ahead, level = int((means < means[name] - 1e-9).sum()), int(((means - means[name]).abs() <= 1e-9).sum())
        assert 1 <= low <= ahead + level
        assert ahead + 1 <= high <= len(gaps)
    names, seeds = random.sample(list(gaps.index), len(gaps)), random.sample(list(gaps), gaps.shape[1])
    assert ranking.rank_ranges(gaps.loc[names, seeds]) == spans


def test_equal_methods_keep_all_ranks_open_together_about_as_often_as_promised():
    random = np.random.default_rng(0)
    draws = [ranking.rank_ranges(pd.DataFrame(random.normal(size=(5, 4)))) for _ in range(300)]
    wrong = sum(any(span != (1, 5) for span in spans.values()) for spans in draws)
    assert wrong <= 25  # 5 % are 15; the chance of more than 25 is below 1 %


# -- the two best ------------------------------------------------------------------------------------------------------


def test_the_two_best_are_told_apart_where_their_seeds_agree_and_not_where_they_do_not(make_run):
    found = line(make_run(CLEAR).board(), "best two")
    assert found.startswith("best two: second is")
    assert "behind first (paired t-test over 3 seeds, for this original only)" in found
    assert found.endswith(": distinguishable")
    assert line(make_run(UNCLEAR).board(), "best two").endswith(": not distinguishable")


def test_the_difference_of_the_two_best_is_in_points_and_its_interval_holds_it(make_run):
    board = make_run(CLEAR).board()
    value, low, high = (
        float(number) for number in re.findall(r"-?\d+\.\d+", line(board, "best two").split("(paired")[0])
    )
    gaps = [row.gap.value for row in board.rows[2:4]]
    assert value == pytest.approx(gaps[1] - gaps[0], abs=0.005)
    assert low < value < high


def test_the_two_best_are_compared_on_the_seeds_that_both_have(make_run):
    methods = {"first": [*CLEAR["first"][:2], (None,) * 7], "second": CLEAR["second"]}
    assert "over 2 seeds" in line(make_run(methods).board(), "best two")


def test_equal_methods_are_rarely_told_apart_although_the_two_best_were_chosen():
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(300):
        gaps = pd.DataFrame(random.normal(size=(6, 3)), index=[f"m{i}" for i in range(6)])
        wrong += ranking.best_two(gaps.loc[gaps.mean(axis=1).sort_values().index]).distinguishable
    assert wrong <= 15  # 5 %


# -- originals ---------------------------------------------------------------------------------------------------------

ORIGINALS = ((1.00, 1.0, 0.89, 0.75, 0.90, 1.0, 0.80), (0.98, 1.0, 0.88, 0.71, 0.88, 0.99, 0.81))


def test_runs_of_one_original_are_averaged_before_methods_are_compared(make_run):
    # six runs from two originals: the runs of each original agree, so there are two observations and not six
    methods = {"first": shifted(5, 9) * 3, "second": shifted(6, 10.2) * 3}
    board = make_run(methods, original=ORIGINALS).board()
    gaps = ranking.paired_gaps(make_run(methods, original=ORIGINALS).metrics, "average_gap", ["first", "second"])
    assert gaps.columns.tolist() == [0, 1]
    assert (board.num_originals, board.num_seeds, board.best_two.n) == (2, 6, 2)
    one = make_run(methods, original=ORIGINALS[0]).board()
    assert (one.num_originals, one.num_seeds, one.best_two.n) == (1, 6, 6)
    assert one.best_two.distinguishable
    assert not board.best_two.distinguishable  # one degree of freedom
    for name in methods:
        several, single = by_name(board)[name], by_name(one)[name]
        assert several.gap.value == pytest.approx(single.gap.value)
        assert several.gap.half_width > 3 * single.gap.half_width
        assert several.gap.n == 6
        assert several.cells["RA"].distance == pytest.approx(single.cells["RA"].distance)


def test_originals_count_alike_however_many_runs_start_from_each(make_run):
    run = make_run({"first": shifted(5, 20, 7), "second": shifted(1, 1, 1)}, original=ORIGINALS)
    gaps = ranking.paired_gaps(run.metrics, "average_gap", ["first"])
    single = {point: make_run({"first": shifted(point)}).board().rows[2].gap.value for point in (5, 20, 7)}
    assert gaps.loc["first"].tolist() == pytest.approx([(single[5] + single[7]) / 2, single[20]])
    row = by_name(run.board())["first"]
    assert row.gap.value == pytest.approx(gaps.loc["first"].mean())
    cells = [row.cells[title].distance for title in ("UA", "RA", "TA", "MIA AUC")]
    assert row.gap.value == pytest.approx(100 * np.mean(cells))


def test_the_verdict_says_whether_ranks_hold_over_originals_or_for_one(make_run):
    board = make_run(CLEAR, original=(*ORIGINALS, ORIGINALS[0])).board()
    assert "ranks: they hold over originals, from 3 originals" in line(board, "ranks:")
    assert "the ranks that 3 originals do not rule out (95 %, family-wise" in line(board, "ranks:")
    assert "(paired t-test over 3 originals)" in line(board, "best two")
    board = make_run(CLEAR).board()
    assert "ranks: they hold for this original only" in line(board, "ranks:")
    assert "the ranks that 3 seeds of one original do not rule out" in line(board, "ranks:")
    assert "(paired t-test over 3 seeds, for this original only)" in line(board, "best two")


def test_the_row_of_the_original_is_the_mean_over_the_originals(make_run):
    board = make_run(CLEAR, original=ORIGINALS).board()
    assert board.original.cells["MIA AUC"].value == pytest.approx(0.73)
    assert board.original.cells["MIA AUC"].n == board.original.gap.n == 2
    assert len([row for row in board.rows if row.kind == "original"]) == 1


def test_a_method_that_lacks_an_original_has_no_range(make_run):
    nothing = (None,) * 7
    board = make_run({**CLEAR, "third": [CLEAR["third"][0], nothing, CLEAR["third"][2]]}, original=ORIGINALS).board()
    rows = by_name(board)
    assert (rows["third"].rank_low, rows["first"].rank_high) == (None, 2)
    assert line(board, "ranks:").endswith("no range because an original is missing: third")


def test_without_retrained_models_each_run_is_compared_with_its_own_original(without):
    # the second original has 4 points less accuracy on test samples, and so has the run that starts from it
    lower = (*ORIGINALS[1][:2], ORIGINALS[0][2] - 0.04, *ORIGINALS[1][3:])
    runs = [(0.9, 1.0, test - 0.02, 0.6, 0.8, 0.9, 0.9) for test in (ORIGINALS[0][2], lower[2])]
    row = by_name(without({"kept": runs}, original=(ORIGINALS[0], lower)).board())["kept"]
    assert row.cells["TA"].gap == pytest.approx(-0.02)
    assert row.cells["TA"].distance == pytest.approx(0.02)
    gaps = [abs(run[0] - run[2]) + 0 + 0.02 + 0.1 for run in runs]
    assert row.gap.value == pytest.approx(100 * np.mean(gaps) / 4)


# -- trade-offs --------------------------------------------------------------------------------------------------------


def test_the_distances_of_a_row_are_made_of_the_same_gaps_as_the_one_that_ranks(make_run):
    board = make_run(UNCLEAR).board()
    for row in board.rows[2:]:
        away = {title: cell.distance for title, cell in row.cells.items()}
        assert row.gap.value == pytest.approx(100 * np.mean([away[title] for title in ("UA", "RA", "TA", "MIA AUC")]))
        assert row.utility_gap == pytest.approx(100 * np.mean([away["RA"], away["TA"]]))
        memory = [away[title] for title in ("UA", "MIA AUC", "CR_f", "k-NN_f")]
        assert row.forget_gap == pytest.approx(100 * np.mean(memory))


def test_seeds_on_both_sides_of_the_retrained_models_do_not_cancel(make_run):
    rows = by_name(make_run({"wild": [(0.975, *NEAR[1:]), (0.775, *NEAR[1:])], "calm": [NEAR, NEAR]}).board())
    assert rows["wild"].cells["UA"].gap == pytest.approx(0, abs=1e-12)
    assert rows["wild"].cells["UA"].distance == pytest.approx(0.1)
    assert rows["wild"].forget_gap > rows["calm"].forget_gap + 2


def test_a_method_is_on_the_front_unless_one_is_nowhere_worse_and_somewhere_better(make_run):
    run = make_run({"near": shifted(1, 1), "middle": shifted(5, 5), "far": shifted(9, 9), "twin": shifted(9, 9)})
    costs = {"near": 0.8, "middle": 0.9, "far": 0.1, "twin": 0.1}
    share = run.models.method.map(costs).fillna(run.models.relative_cost)
    board = run._replace(models=run.models.assign(relative_cost=share)).board()
    assert {row.name: row.pareto for row in board.rows[2:]} == {"near": 1, "middle": 2, "far": 1, "twin": 1}
    said = line(board, "Pareto front")
    assert "forget gap (UA, MIA AUC, CR_f, k-NN_f), mean utility gap (RA, TA) and cost" in said
    assert said.endswith(": near, far, twin")


def test_a_method_that_lacks_a_part_is_on_no_front(make_run):
    partly = [(*NEAR[:5], None, NEAR[6])] * 2
    rows = by_name(make_run({"first": CLEAR["first"], "partly": partly}).board())
    assert rows["partly"].rank == 1
    assert math.isnan(rows["partly"].forget_gap)
    assert (rows["partly"].pareto, rows["first"].pareto) == (None, 1)


def test_a_column_that_no_method_has_is_not_named(make_run):
    without = {name: [(*seed[:5], None, seed[6]) for seed in seeds] for name, seeds in CLEAR.items()}
    assert "forget gap (UA, MIA AUC, CR_f), mean utility gap" in line(make_run(without).board(), "Pareto front")


# -- power -------------------------------------------------------------------------------------------------------------


def test_a_gap_as_large_as_stated_gets_a_star_about_four_times_in_five():
    spread, count = 0.01, 8
    steps = np.arange(count) - (count - 1) / 2
    least = ranking.power({AUC: 0.5 + spread * steps / steps.std(ddof=1)}, SEVERAL.level).gaps["MIA AUC"]
    random = np.random.default_rng(0)
    found = 0
    for _ in range(600):
        reference = random.normal(0.5, spread, count)
        strict = gap_to_reference(random.normal(0.5 + least, spread), reference, confidence=1 - SEVERAL.level)
        found += strict.low > 0
    assert 0.72 <= found / 600 <= 0.86


def test_power_grows_with_the_retrained_models_and_shrinks_with_their_spread():
    def least(values):
        return ranking.power({AUC: np.array(values)}, SEVERAL.level).gaps["MIA AUC"]

    few = [0.50, 0.51, 0.52, 0.53]
    assert least(few * 3) < least(few)
    assert least(0.5 + 2 * (np.array(few) - 0.5)) == pytest.approx(2 * least(few))


def test_percent_columns_are_in_points_and_columns_without_spread_are_left_out():
    spread = np.array([0.80, 0.82, 0.81, 0.79, 0.83])
    said = power_line({UA: spread, AUC: np.full(5, 0.5)})
    points = float(re.findall(r"UA (\d+\.\d)", said)[0])
    assert 5 < points < 30
    assert "MIA AUC" not in said
    assert "with 5 retrained models" in said
    assert ranking.power({AUC: np.full(5, 0.5)}, SEVERAL.level) is None
    assert ranking.power({AUC: np.array([0.5])}, SEVERAL.level) is None


def test_two_retrained_models_can_be_too_few_to_find_any_gap_at_all():
    said = power_line({UA: np.array([0.80, 0.83]), AUC: np.array([0.5, 0.501])})
    assert "no gap in UA can be detected" in said
    assert re.search(r"80 % power to detect a gap of MIA AUC 0\.\d+;", said)


@pytest.mark.parametrize(("retrained", "said"), [((NEAR,), False), ((NEAR, *shifted(1), *shifted(2)), True)])
def test_only_several_retrained_models_have_a_power(make_run, retrained, said):
    board = make_run(CLEAR, retrained=retrained).board()
    assert (line(board, "power:") is not None) == said


# -- the table ---------------------------------------------------------------------------------------------------------


def test_the_report_writes_the_ranking_as_a_table(make_run, make_experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("RAYBENCH_GIT_COMMIT", "abc")  # asking git takes longer than the test
    store = Store(str(tmp_path))
    run = make_run({**UNCLEAR, "broken": "RuntimeError: no such layer"})
    roles = pd.DataFrame({"id": range(6), "role": ["retain", "forget", "test"] * 2})
    for name, frame in {**run._asdict(), "splits": roles}.items():
        content = tables.cast(name, pa.Table.from_pandas(frame, preserve_index=False))
        store.write_table(f"mine/tables/{name}.parquet", content)
    store.write_json("mine/manifest.json", manifest(make_experiment(name="mine"), "name: mine\n", {}))
    write_report(store, "mine", Reporter(Console(file=io.StringIO()), verbosity=-1))
    path = store.path("mine/tables/leaderboard.parquet")
    assert pq.read_schema(path).metadata[b"raybench_schema_version"].decode() == tables.VERSION
    frame = pd.read_parquet(path)
    assert list(frame.columns) == report_schemas.LEADERBOARD.names
    board = run.board()
    assert frame.method.tolist() == [row.name for row in board.rows]
    ranked = frame[frame["rank"].notna()]
    assert ranked[["rank", "rank_low", "rank_high"]].to_numpy().tolist() == [[1, 1, 2], [2, 1, 2], [3, 3, 3]]
    assert ranked.gap.tolist() == [row.gap.value for row in board.rows[2:5]]
    assert (ranked.gap_low <= ranked.gap).all()
    assert (ranked.gap <= ranked.gap_high).all()
    assert set(ranked.n) == {3}
    assert set(frame.ranked_by) == {"average_gap"}
    broken = frame.set_index("method").loc["broken"]
    assert broken.reason == "RuntimeError: no such layer"
    assert broken[["rank", "rank_low", "pareto", "gap"]].isna().all()
