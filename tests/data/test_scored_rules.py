import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.data.forget_rules import select
from raybench.data.forget_rules.framework.spec import Candidates
from raybench.data.perceptual_hash import hash_of
from raybench.data.splits import make_splits
from raybench.errors import UserError

CLASSES = ("cat", "dog", "frog", "boat")


@pytest.fixture
def candidates():
    return Candidates(np.arange(100, 140), np.arange(40) % 4, None, CLASSES)


def scores(path, ids, values, **more):
    pq.write_table(pa.table({"id": ids, "score": values, **more}), path)
    return path


def test_the_highest_or_lowest_mean_scores_are_forgotten(candidates, tmp_path):
    ids = np.arange(90, 150)
    values = np.random.default_rng(0).normal(size=60)
    path = scores(tmp_path / "s.parquet", np.tile(ids, 2), np.concatenate([values - 3, values + 3]))
    ranked = sorted(range(100, 140), key=lambda i: values[i - 90])
    assert select("hard", candidates, scores=path, count=5).tolist() == sorted(ranked[-5:])
    assert select("hard", candidates, scores=path, fraction=0.1, order="lowest").tolist() == sorted(ranked[:4])


def test_equal_scores_go_to_the_smaller_id_whatever_the_order(candidates, tmp_path):
    path = scores(tmp_path / "s.parquet", np.arange(139, 99, -1), np.zeros(40))
    for order in ("highest", "lowest"):
        assert select("hard", candidates, scores=path, count=3, order=order).tolist() == [100, 101, 102]


def test_a_stored_table_of_samples_serves_by_column_and_model(candidates, tmp_path):
    table = {"id": np.tile(np.arange(100, 140), 2), "model": ["original"] * 40 + ["retrained"] * 40}
    pq.write_table(pa.table({**table, "loss": np.r_[np.zeros(40), np.arange(40.0)]}), tmp_path / "samples.parquet")
    options = {"scores": tmp_path / "samples.parquet", "column": "loss", "count": 2}
    assert select("hard", candidates, **options, model="retrained").tolist() == [138, 139]
    with pytest.raises(UserError, match=r"no row has model 'x' \(models: original, retrained\)"):
        select("hard", candidates, **options, model="x")


def test_samples_without_a_score_are_counted_and_cannot_be_selected(candidates, tmp_path):
    path = scores(tmp_path / "s.parquet", [103, 101, 7], [1.0, 2.0, 9.0])
    with pytest.warns(UserWarning, match="38 of 40 training samples have no score"):
        assert select("hard", candidates, scores=path, count=1).tolist() == [101]
    with pytest.raises(UserError, match="has scores for only 2 of the 40 training samples"):
        select("hard", candidates, scores=path, count=3)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0, float("nan")], {"count": 1}, "column 'score' has values that are not finite"),
        ([1.0, None], {"count": 1}, "column 'score' should hold numbers in every row"),
        (["a", "b"], {"count": 1}, "column 'score' should hold numbers in every row"),
        ([1.0, 2.0], {"count": 1, "column": "loss"}, r"no column 'loss' \(columns: id, score\)"),
        ([1.0, 2.0], {"count": 1, "order": "most"}, r"order is 'most' \(allowed: highest, lowest\)"),
        ([1.0, 2.0], {}, "exactly one of fraction and count"),
    ],
)
def test_scores_that_are_no_numbers_are_refused(candidates, tmp_path, values, options, message):
    path = scores(tmp_path / "s.parquet", [100, 101], pa.array(values))
    with pytest.raises(UserError, match=message):
        select("hard", candidates, scores=path, **options)


def test_copies_of_a_picture_are_forgotten_with_it(make_data):
    data = make_data(60, size=32)
    data.images[[7, 40, 59]] = data.images[3]
    data.images[12] = data.images[3]
    data.images[12, :6, :6] = 255 - data.images[12, :6, :6]  # nearly the same picture
    assert 0 < (hash_of(data.images[3]) ^ hash_of(data.images[12])).bit_count() <= 8
    sizes = {"train": None, "test": 1}
    train = make_splits(data, sizes, {"rule": "random", "count": 1}, 0)
    present = np.concatenate([train.ids("retain"), train.ids("forget")])
    expected = [i for i in (3, 7, 40, 59) if i in present]
    rule = {"rule": "duplicates_of", "ids": [expected[0]]}
    assert make_splits(data, sizes, rule, 0).ids("forget").tolist() == expected
    near = make_splits(data, sizes, rule | {"distance": 8}, 0).ids("forget").tolist()
    assert set(expected) <= set(near)
    assert 12 in near or 12 not in present
    assert len(near) < 10


def test_copies_need_training_samples_and_a_distance_in_bits(make_data):
    data = make_data()
    rule = {"rule": "duplicates_of", "ids": [3, 999]}
    with pytest.raises(UserError, match="1 ids that are not training samples: 999"):
        make_splits(data, {"train": None}, rule, 0)
    with pytest.raises(UserError, match="distance is 64; it should be from 0 to 63 bits"):
        make_splits(data, {"train": None}, rule | {"distance": 64}, 0)
    with pytest.raises(UserError, match=r"needs .*hashes"):
        select("duplicates_of", Candidates(np.arange(5), np.zeros(5, dtype=np.int64)), ids=[3])


def test_a_path_may_begin_at_the_home_folder(candidates, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(scores(tmp_path / "s.parquet", np.arange(100, 140), np.arange(40.0)), tmp_path / "t.parquet")
    assert select("hard", candidates, scores="~/t.parquet", count=1).tolist() == [139]
