import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.data.forget_rules import select
from raybench.data.forget_rules.spec import Candidates
from raybench.data.perceptual_hash import hash_of
from raybench.data.splits import make_splits
from raybench.errors import UserError

CLASSES = ("cat", "dog", "frog", "boat")


@pytest.fixture
def candidates():
    return Candidates(np.arange(100, 140), np.arange(40) % 4, None, CLASSES)


def predictions(path, predicted, *, num_classes=4, model="m"):
    logits = np.eye(num_classes, dtype=np.float32)[predicted] + 0.1
    columns = {"model": [model] * len(logits), "id": range(len(logits)), "logits": logits.tolist()}
    schema = pa.schema([("model", pa.string()), ("id", pa.int64()), ("logits", pa.list_(pa.float32()))])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), path)
    return path


def scores(path, ids, values, **more):
    pq.write_table(pa.table({"id": ids, "score": values, **more}), path)
    return path


def test_the_classes_predicted_most_often_are_forgotten_and_ties_go_to_the_smaller_id(candidates, tmp_path):
    path = predictions(tmp_path / "office.parquet", [3, 3, 3, 2, 1, 2, 1, 0])
    assert set(candidates.labels[select("top_classes", candidates, count=1, predictions=path) - 100]) == {3}
    assert set(candidates.labels[select("top_classes", candidates, count=2, predictions=str(path)) - 100]) == {1, 3}


def test_a_folder_of_predictions_counts_as_one_file(candidates, tmp_path):
    predictions(tmp_path / "a/one.parquet", [0, 1])
    predictions(tmp_path / "a/b/two.parquet", [1])
    assert set(candidates.labels[select("top_classes", candidates, count=1, predictions=tmp_path) - 100]) == {1}


def test_classes_that_are_never_predicted_are_filled_in_by_id_with_a_warning(candidates, tmp_path):
    path = predictions(tmp_path / "p.parquet", [2, 2])
    with pytest.warns(UserWarning, match="only 1 of 4 classes are ever predicted"):
        chosen = select("top_classes", candidates, count=2, predictions=path)
    assert set(candidates.labels[chosen - 100]) == {0, 2}


def test_predictions_that_do_not_fit_are_refused(candidates, tmp_path):
    wide = predictions(tmp_path / "wide.parquet", [0, 5], num_classes=6)
    with pytest.raises(UserError, match="rows have 6 logits, but this dataset has 4 classes"):
        select("top_classes", candidates, count=1, predictions=wide)
    predictions(tmp_path / "two/a.parquet", [0], model="original")
    predictions(tmp_path / "two/b.parquet", [0], model="retrained")
    with pytest.raises(UserError, match="predictions of 2 models, original, retrained"):
        select("top_classes", candidates, count=1, predictions=tmp_path / "two")
    with pytest.raises(UserError, match="is no Parquet file, nor a folder"):
        select("top_classes", candidates, count=1, predictions=tmp_path / "gone")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        select("top_classes", candidates, count=1, predictions=tmp_path / "broken.parquet")
    with pytest.raises(UserError, match="no column 'logits'"):
        select("top_classes", candidates, count=1, predictions=scores(tmp_path / "s.parquet", [1], [1.0]))
    bad = pa.table({"logits": pa.array([[1.0, float("nan"), 0.0, 0.0]], pa.list_(pa.float32()))})
    pq.write_table(bad, tmp_path / "nan.parquet")
    with pytest.raises(UserError, match="some logits are NaN"):
        select("top_classes", candidates, count=1, predictions=tmp_path / "nan.parquet")


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
    with pytest.raises(UserError, match=r"no row is of model 'x' \(models: original, retrained\)"):
        select("hard", candidates, **options, model="x")


def test_samples_without_a_score_are_counted_and_cannot_be_selected(candidates, tmp_path):
    path = scores(tmp_path / "s.parquet", [103, 101, 7], [1.0, 2.0, 9.0])
    with pytest.warns(UserWarning, match="38 of 40 training samples have no score"):
        assert select("hard", candidates, scores=path, count=1).tolist() == [101]
    with pytest.raises(UserError, match="scores only 2 of the 40 training samples"):
        select("hard", candidates, scores=path, count=3)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0, float("nan")], {"count": 1}, "column 'score' is not finite everywhere"),
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
