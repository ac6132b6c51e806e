"""A whole run on a real object store: moto's S3 server on the loopback interface."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import fs

from raybench.storage.runs import find_run
from raybench.storage.store import Store

from .conftest import Command

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]
SMALLER = ("train.epochs=2", "sweep.trials=2", "sweep.originals=1", "sweep.seeds=1", "sweep.finalists=1")
SMALLER += ("sweep.tuning_request=same", "evaluate.metrics=[accuracy,mia]", "name=remote")


@pytest.fixture
def words(tmp_path: Path, project: Path) -> tuple[str, ...]:
    return "run", "small.yaml", *(word for setting in SMALLER for word in ("--set", setting)), "--storage"


def test_a_run_on_s3_ends_in_the_tables_of_a_run_on_a_disk(
    words: tuple[str, ...], s3_uri: str, succeed: Callable[..., str], raybench: Command, in_tasks: None, tmp_path: Path
) -> None:
    uri = s3_uri.format(folder="whole")
    store, local = Store(uri), Store(str(tmp_path))
    assert "secret" not in succeed(*words, uri)
    succeed(*words, str(tmp_path))
    for name in ("metrics", "models", "trials", "samples", "splits", "leaderboard"):
        tables = [s.read_table(f"{find_run(s, 'remote')}/tables/{name}.parquet") for s in (store, local)]
        left, right = (t.drop_columns([c for c in ("seconds",) if c in t.column_names]) for t in tables)
        assert left.equals(right), name
    assert_no_password(store)
    assert store.keys("remote/lock") == []
    assert store.keys(".partial") == []

    # a damaged artifact on the bucket is named and made again
    key = store.keys("artifacts/trials", suffix=".json")[0]
    store.write_bytes(key, store.read_bytes(key)[:-9])
    assert f"{key} is damaged" in succeed(*words, uri)
    with store.lock("remote/lock"):
        assert raybench(*words, uri).code == 2


def assert_no_password(store: Store) -> None:
    """Look for the password of the URI in every object of the storage, and in the values of every table."""
    infos = store.filesystem.get_file_info(fs.FileSelector(store.root, recursive=True))
    files = [info.path.removeprefix(f"{store.root}/") for info in infos if info.is_file]
    assert len(files) > 50
    for file in files:
        content = store.read_bytes(file)
        if file.endswith(".parquet"):
            table = store.read_table(file)
            content += str(table.select([f.name for f in table.schema if str(f.type) == "string"]).to_pydict()).encode()
        assert b"key:secret" not in content, file
        assert b"secret@" not in content, file
