"""Files made to hang a reader, exhaust the memory, leak an image into two roles, or run code."""

import gzip
import io
import os
import pickle
import re
import struct
import tracemalloc
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from raybench import data, limits
from raybench.data.files import safe_pickle
from raybench.data.formats.idx import read_idx
from raybench.data.reading.decode_image import CorruptImage, check_file, decode
from raybench.data.reading.encoded import Encoded
from raybench.errors import UserError


def png_of_size(width, height):
    """A PNG whose header promises a size that its few bytes do not hold."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@contextmanager
def at_most(num_bytes):
    """Require that the block allocates at most so many bytes at once."""
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < num_bytes


def encoded(format, size, **options):
    file = io.BytesIO()
    Image.new("L", size).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png_of_size(12_500, 12_500), "is 12500 x 12500 pixels (allowed: 64,000,000 in all)"),
        (png_of_size(2**31 - 1, 2**31 - 1), "pixels"),
        (png_of_size(50_000, 10), "is 50000 x 10 pixels (allowed: one side up to 100 times the other)"),
        (encoded("JPEG", (5000, 10)), "one side up to 100 times the other"),
        (encoded("EPS", (10, 10)), "not an image"),
        (encoded("PDF", (10, 10)), "not an image"),
    ],
)
def test_an_image_beyond_the_limits_or_of_another_format_is_corrupt(content, words):
    decode(encoded("JPEG", (8, 8)), "x.jpg")  # imports the decoders
    with pytest.raises(CorruptImage) as caught, at_most(10**7):
        decode(content, "x.png")
    assert words in str(caught.value)


def test_the_check_of_streamed_images_reads_the_size_too(tmp_path):
    (tmp_path / "huge.png").write_bytes(png_of_size(12_500, 12_500))
    (tmp_path / "long.jpg").write_bytes(encoded("JPEG", (5000, 10)))
    for name in ("huge.png", "long.jpg"):
        with pytest.raises(CorruptImage, match="pixels"):
            check_file(Encoded.of_files(tmp_path, [name]), 0)


@pytest.fixture
def pipes(tmp_path):
    """A class folder and a list with a pipe among the images: reading it would wait for a writer."""
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(encoded("PNG", (4, 4)))
    os.mkfifo(tmp_path / "cat" / "2.png")
    return tmp_path


def test_a_pipe_among_the_images_is_refused_instead_of_waited_for(pipes):
    with pytest.raises(UserError, match="is no regular file"):
        data.load("image_folder", root=pipes)
    (pipes / "list.txt").write_text("cat/1.png 0\ncat/2.png 0\n")
    with pytest.raises(UserError, match="missing"):
        data.load("list_file", root=pipes)
    with pytest.raises(UserError, match="is no regular file"):
        Encoded.of_files(pipes, ["cat/2.png"]).read(0)
    os.mkfifo(pipes / "m.csv")
    for name, option in (("manifest", "m.csv"), ("list_file", "m.csv")):
        with pytest.raises(UserError, match=r"regular file|not a \.csv"):
            data.load(name, root=pipes, file=option)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("a.png 0\n./a.png 0\n", "listed more than once"),
        ("a.png 0\nx/../a.png 0\n", "listed more than once"),
        ("a.png 0\n../outside.png 0\n", "line 2: '../outside.png' is outside root"),
        ("/etc/passwd 0\n", "outside root"),
        ("a.png 99999999999999999999\n", "out of range"),
        ("a.png 100000\n", "out of range"),
    ],
)
def test_a_list_names_every_image_once_and_none_outside(tmp_path, lines, words):
    (tmp_path / "a.png").write_bytes(encoded("PNG", (4, 4)))
    (tmp_path / "list.txt").write_text(lines)
    with pytest.raises(UserError, match=re.escape(words)):
        data.load("list_file", root=tmp_path)


def test_a_csv_with_a_doubled_column_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded("PNG", (4, 4)))
    (tmp_path / "m.csv").write_text("path,label,label\na.png,cat,dog\n")
    with pytest.raises(UserError, match="the column 'label' is there more than once"):
        data.load("manifest", root=tmp_path)


@pytest.mark.parametrize("opener", [open, gzip.open])
def test_the_header_of_an_idx_file_reserves_no_memory(tmp_path, opener):
    path = tmp_path / f"x-idx3-ubyte{'.gz' if opener is gzip.open else ''}"
    with opener(path, "wb") as file:
        file.write(struct.pack(">IIII", 2051, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"123")
    with pytest.raises(UserError, match=r"the header gives .* found 3"), at_most(2**26):
        read_idx(path)


NESTED = b"\x80\x02K\x01\x85" + b"2\x86" * 60  # a tuple that holds a tuple twice, and so on: its hash takes forever


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(\x8a\x05\x00\x00\x00\x00\x01tU\x01btR.",
        b"\x80\x02cnumpy\nndarray\n(\x8a\x05\x00\x00\x00\x00\x01tR.",
        b"\x80\x02c__builtin__\nbytes\n(\x8a\x05\x00\x00\x00\x00\x01tR.",
        b"\x80\x02cnumpy\ndtype\n(U\x02O8K\x00K\x01tR.",
        b"\x80\x02cos\nsystem\n(U\x04truetR.",
        b"\x80\x02}" + NESTED[2:] + b"K\x01s.",
        b"\x80\x04\x8f(" + NESTED[2:] + b"\x90.",
    ],
)
def test_a_pickle_that_allocates_hangs_or_calls_is_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError):
        safe_pickle.load(tmp_path / "x")


def test_a_memo_of_any_number_costs_nothing(tmp_path):
    (tmp_path / "x").write_bytes(b"\x80\x02K\x05r\xff\xff\xff\xff.")
    assert safe_pickle.load(tmp_path / "x") == 5


def test_labels_that_hold_each_other_are_refused(tmp_path):
    labels = [0, 1, 2]
    for _ in range(40):
        labels = [labels, labels, labels]
    content = pickle.dumps({"data": np.zeros((3, 3072), np.uint8), "labels": labels}, protocol=2)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="labels are a list of 3, expected 3 whole numbers"):
        data.load("cifar10", root=tmp_path)


def test_the_number_of_classes_is_limited(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded("PNG", (4, 4)))
    (tmp_path / "m.csv").write_text("path,label\na.png,0\n")
    with pytest.raises(UserError, match=f"at most {limits.CLASSES}"):
        data.load("manifest", root=tmp_path, classes=10**11)
