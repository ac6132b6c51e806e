"""Checksums inside the files themselves, for JSON, Parquet and the zip archives that torch.save writes.

Each file has a field of 32 hex digits: the BLAKE2b hash of all bytes of the file with this field set to zeros. So every
byte counts, a file and its checksum are replaced by one rename, and other tools read the files as before: the field is
a key `checksum` of a JSON object, a key of the metadata in a Parquet footer, or the comment of a zip archive. It
detects damage; it is no signature, since whoever can write a file can also write its checksum.
"""

import hashlib
import io
import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

NAME = "checksum"
DIGITS = 32
ZEROS = b"0" * DIGITS
PARQUET_KEY = "raybench_checksum"
# json.dumps(indent=1) puts exactly one space before the keys of the outermost object, and no raw newline into strings
_IN_JSON = re.compile(rb'\n "checksum": "([0-9a-f]{32})"')
_IN_PARQUET = re.compile(rb"raybench_checksum..([0-9a-f]{32})", re.DOTALL)  # between them: type and length of the value
_IN_ZIP = re.compile(rb"raybench:([0-9a-f]{32})\Z")
_ZIP_END, _ZIP_END_BYTES = b"PK\x05\x06", 22  # the record that ends an archive without a comment


class Damaged(ValueError):
    """A file whose checksum is missing or differs from its content; the message says which."""


class Sink(Protocol):
    """What a sealed file is written to."""

    def write(self, data: Any, /) -> object: ...


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object with its checksum."""
    text = json.dumps({**value, NAME: ZEROS.decode()}, indent=1, sort_keys=True).encode()
    return _sealed(text, _IN_JSON, 0)


def read_json(data: bytes) -> Any:
    """Return the JSON object without its checksum; raise Damaged if it differs from what was written."""
    _verify(data, _IN_JSON, 0)
    value = json.loads(data)
    del value[NAME]
    return value


def archive_bytes(data: bytes) -> bytes:
    """Return a zip archive with its checksum as the comment; one that has it is returned as it is."""
    end = data[-_ZIP_END_BYTES:]
    if _IN_ZIP.search(data, max(0, len(data) - 64)):
        return data
    if not end.startswith(_ZIP_END) or end[-2:] != b"\0\0":
        raise ValueError("not a zip archive without a comment")
    comment = b"raybench:" + ZEROS
    return _sealed(data[:-2] + len(comment).to_bytes(2, "little") + comment, _IN_ZIP, len(data))


def verify_archive(data: bytes) -> None:
    """Raise Damaged unless the archive is byte for byte what was written."""
    _verify(data, _IN_ZIP, max(0, len(data) - 64))


def write_parquet(table: pa.Table, sink: Sink) -> None:
    """Write a table with its checksum, and a checksum per page that other readers can verify."""
    stream = _ParquetStream(sink)
    with pq.ParquetWriter(stream, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({PARQUET_KEY: ZEROS.decode()})
        stream.start_footer()
    stream.finish()


def read_parquet(data: pa.Buffer, *, columns: list[str] | None = None) -> pa.Table:
    """Return the table of a whole Parquet file; raise Damaged unless it is byte for byte what was written."""
    _verify(memoryview(data), _IN_PARQUET, _footer_start(data))
    with pq.ParquetFile(pa.BufferReader(data)) as file:  # pq.read_table imports pandas
        table = file.read(columns=columns)
    metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key.decode() != PARQUET_KEY}
    return table.replace_schema_metadata(metadata or None)


def has_parquet_end(data: bytes) -> bool:
    """Return whether these last bytes end a Parquet file with a checksum: a cheap test for a file that was cut off."""
    return data.endswith(b"PAR1") and _IN_PARQUET.search(data) is not None


class _ParquetStream(io.RawIOBase):
    """Passes data on while it is hashed; keeps the footer back, which contains the checksum."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._digest = sink, _hash()
        self._footer: bytearray | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if self._footer is None:
            self._digest.update(data)
            self._sink.write(data)
        else:
            self._footer += data
        return len(data)

    def start_footer(self) -> None:
        self._footer = bytearray()

    def finish(self) -> None:
        assert self._footer is not None
        self._digest.update(self._footer)
        start = _field(self._footer, _IN_PARQUET, 0)
        self._footer[start : start + DIGITS] = self._digest.hexdigest().encode()
        self._sink.write(bytes(self._footer))


def _hash() -> Any:
    return hashlib.blake2b(digest_size=DIGITS // 2)


def _sealed(data: bytes, pattern: re.Pattern[bytes], search_from: int) -> bytes:
    start = _field(data, pattern, search_from)
    digest = _hash()
    digest.update(data)
    sealed: bytes = data[:start] + digest.hexdigest().encode() + data[start + DIGITS :]
    return sealed


def _verify(data: bytes | memoryview, pattern: re.Pattern[bytes], search_from: int) -> None:
    start = _field(data, pattern, search_from)
    digest, view = _hash(), memoryview(data)
    for part in (view[:start], ZEROS, view[start + DIGITS :]):
        digest.update(part)
    if digest.hexdigest().encode() != bytes(view[start : start + DIGITS]):
        raise Damaged("its content differs from its checksum")


def _field(data: bytes | bytearray | memoryview, pattern: re.Pattern[bytes], search_from: int) -> int:
    """Return the position of the checksum."""
    match = pattern.search(data, search_from)
    if match is None:
        raise Damaged("it has no checksum: it was cut off, or written by another program")
    return match.start(1)


def _footer_start(data: pa.Buffer) -> int:
    """Return where the footer of a Parquet file starts; its length precedes the last four bytes."""
    size = len(data)
    if size < 12 or data[size - 4 : size].to_pybytes() != b"PAR1":
        raise Damaged("it does not end like a Parquet file: it was cut off")
    return max(0, size - 8 - int.from_bytes(data[size - 8 : size - 4].to_pybytes(), "little"))
