"""Checksums inside JSON, Parquet and torch files: every changed byte is noticed, and other tools read the files."""

import io
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.storage import seals

RECORD = {
    "checksum of": "x",
    "nested": {"checksum": "0" * 32},
    "line": '\n "checksum": "' + "0" * 32 + '"',
    "n": [1, 2],
}


def table(rows=200):
    generator = np.random.default_rng(0)
    lists = pa.array(generator.random((rows, 3)).tolist(), pa.list_(pa.float32()))
    content = pa.table({"id": np.arange(rows), "name": ["a", "b"] * (rows // 2), "logits": lists})
    return content.replace_schema_metadata({"raybench_table": "predictions"})


def parquet(content=None):
    sink = io.BytesIO()
    seals.write_parquet(table() if content is None else content, sink)
    return sink.getvalue()


def archive():
    buffer = io.BytesIO()
    torch.save({"weight": torch.arange(12.0), "bias": torch.zeros(3)}, buffer)
    return seals.archive_bytes(buffer.getvalue())


FILES = {
    "json": (seals.json_bytes(RECORD), seals.read_json),
    "parquet": (parquet(), lambda data: seals.read_parquet(pa.py_buffer(data))),
    "archive": (archive(), seals.verify_archive),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_changed_byte_is_noticed(kind):
    data, read = FILES[kind]
    read(data)
    generator = random.Random(0)
    for position in generator.sample(range(len(data)), min(len(data), 500)):
        changed = bytearray(data)
        changed[position] ^= 1 << generator.randrange(8)
        with pytest.raises(seals.Damaged):
            read(bytes(changed))


@pytest.mark.parametrize("kind", FILES)
def test_every_file_that_was_cut_off_or_padded_is_noticed(kind):
    data, read = FILES[kind]
    for changed in (b"", data[:5], data[: len(data) // 2], data[:-1], data + b"\0", data[1:], b"\0" * len(data)):
        with pytest.raises(seals.Damaged):
            read(changed)


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.text(max_size=9), st.floats(allow_nan=False) | st.text() | st.lists(st.integers()), max_size=4)
)
def test_a_json_object_is_read_as_written_and_by_other_tools(value):
    value.pop(seals.NAME, None)
    data = seals.json_bytes(value)
    assert seals.read_json(data) == value
    others = json.loads(data)
    assert len(others.pop("checksum")) == 32
    assert others == value


def test_a_table_is_read_as_written_and_by_other_tools(tmp_path):
    stored = seals.read_parquet(pa.py_buffer(parquet()))
    assert stored.equals(table())
    assert stored.schema.metadata == table().schema.metadata
    assert seals.read_parquet(pa.py_buffer(parquet()), columns=["id"]).column_names == ["id"]
    (tmp_path / "t.parquet").write_bytes(parquet())
    assert pq.read_table(tmp_path / "t.parquet").equals(table())
    assert seals.read_parquet(pa.py_buffer(parquet(table(0)))).num_rows == 0


def test_other_tools_can_verify_the_pages_of_a_table():
    data = bytearray(parquet())
    column = pq.read_metadata(io.BytesIO(data)).row_group(0).column(0)
    data[column.dictionary_page_offset + column.total_compressed_size - 1] ^= 1
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(pa.BufferReader(bytes(data)), page_checksum_verification=True)


def test_torch_loads_a_sealed_archive_and_sealing_twice_changes_nothing(tmp_path):
    data = archive()
    (tmp_path / "m.pt").write_bytes(data)
    for mmap in (False, True):
        weights = torch.load(tmp_path / "m.pt", weights_only=True, mmap=mmap)
        assert torch.equal(weights["weight"], torch.arange(12.0))
    assert seals.archive_bytes(data) == data


def test_only_zip_archives_are_sealed():
    with pytest.raises(ValueError, match="not a zip archive"):
        seals.archive_bytes(b"weights")


def test_the_end_of_a_table_shows_whether_it_was_cut_off():
    data = parquet()
    assert seals.has_parquet_end(data[-60_000:])
    assert not seals.has_parquet_end(data[: len(data) // 2])
    assert not seals.has_parquet_end(b"")
