import io
import struct
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import by_pillow, encode, oriented, picture, write_files
from PIL import Image, ImageFile

from raybench.data.reading import decode_image as decode_module
from raybench.data.reading.decode_image import CorruptImage, check_file, decode, torchvision_decoder
from raybench.data.reading.encoded import Encoded
from raybench.data.reading.names import Names
from raybench.errors import UserError

RGB = picture()
GRAY = np.asarray(Image.fromarray(RGB).convert("L"))
ALPHA = np.dstack([RGB, GRAY])
PALETTE = Image.fromarray(RGB).quantize(64)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'

LOSSLESS = {
    "png": encode(RGB, "PNG"),
    "gray png": encode(GRAY, "PNG"),
    "png with alpha": encode(ALPHA, "PNG"),
    "gray png with alpha": encode(Image.fromarray(ALPHA).convert("LA"), "PNG"),
    "png with one transparent color": encode(RGB, "PNG", transparency=(10, 20, 30)),
    "palette png": encode(PALETTE, "PNG"),
    "palette png with transparency": encode(PALETTE, "PNG", transparency=b"\x00\x80\xff"),
    "png of one bit": encode(Image.fromarray(GRAY).convert("1"), "PNG"),
    "gray png of 16 bits": encode(Image.fromarray(GRAY.astype(np.uint16) * 257), "PNG"),
    "bmp": encode(RGB, "BMP"),
    "pgm": encode(GRAY, "PPM"),
    "pgm of 16 bits": encode(Image.fromarray(GRAY.astype(np.uint16) * 257), "PPM"),
    "gif": encode(PALETTE, "GIF"),
    "animated gif": encode(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(90)]),
    "webp": encode(RGB, "WEBP", lossless=True),
    "webp with alpha": encode(ALPHA, "WEBP", lossless=True),
    "tiff": encode(RGB, "TIFF"),
    "png turned by its exif": oriented(RGB, "PNG", 6),
}
JPEGS = {
    "jpeg": encode(RGB, "JPEG", quality=90),
    "jpeg without subsampling": encode(RGB, "JPEG", quality=90, subsampling=0),
    "jpeg of odd size": encode(RGB[:-3, :-5], "JPEG", quality=90),
    "progressive jpeg": encode(RGB, "JPEG", quality=90, progressive=True),
    "jpeg with restarts": encode(RGB, "JPEG", quality=90, restart_marker_blocks=2),
    "gray jpeg": encode(GRAY, "JPEG", quality=90),
    "cmyk jpeg": encode(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=90),
    "rgb jpeg": encode(RGB, "JPEG", quality=90, keep_rgb=True),
    "jpeg with padding after its end": encode(RGB, "JPEG", quality=90) + bytes(20),
    "jpeg turned by xmp": encode(RGB, "JPEG", quality=90, xmp=XMP),
    **{f"jpeg of orientation {i}": oriented(RGB, "JPEG", i) for i in range(1, 9)},
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_image_is_what_pillow_makes_of_it(name):
    pixels = decode(LOSSLESS[name], name)
    assert (pixels.dtype, pixels.shape[2]) == (np.uint8, 3)
    np.testing.assert_array_equal(pixels, by_pillow(LOSSLESS[name]))


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_is_within_two_levels_of_what_pillow_makes_of_it(name):
    pixels, expected = decode(JPEGS[name], name), by_pillow(JPEGS[name])
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= 2


def test_lossless_pixels_come_back_and_alpha_is_dropped():
    for name in ("png", "png with alpha", "bmp", "webp", "tiff"):
        np.testing.assert_array_equal(decode(LOSSLESS[name], name), RGB)
    np.testing.assert_array_equal(decode(LOSSLESS["png turned by its exif"], "x"), np.rot90(RGB, -1))
    np.testing.assert_array_equal(decode(LOSSLESS["gray png"], "x"), np.repeat(GRAY[..., None], 3, axis=2))


def test_an_image_turned_by_exif_or_xmp_stands_upright():
    for name in ("jpeg of orientation 6", "jpeg turned by xmp"):
        pixels = decode(JPEGS[name], name)
        assert pixels.shape == (80, 60, 3)
        assert np.abs(pixels.astype(int) - np.rot90(RGB, -1)).mean() < 6


def test_a_plain_jpeg_needs_no_pillow_and_one_without_torchvision_is_the_same(monkeypatch):
    if torchvision_decoder() is None:
        pytest.skip("torchvision without its JPEG decoder")
    with monkeypatch.context() as patch:
        patch.setattr(decode_module, "decode_by_pillow", lambda *_: pytest.fail("Pillow was asked"))
        quick = {name: decode(JPEGS[name], name) for name in ("jpeg", "gray jpeg", "progressive jpeg")}
    monkeypatch.setattr(decode_module, "torchvision_decoder", lambda: None)
    for name, pixels in quick.items():
        assert np.abs(decode(JPEGS[name], name).astype(int) - pixels).max() <= 2


ALL = LOSSLESS | JPEGS


@settings(max_examples=80, deadline=None)
@given(name=st.sampled_from(sorted(ALL)), share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_image_is_refused_or_whole_but_never_filled_up(name, share):
    content = ALL[name][: int(share * len(ALL[name]))]
    try:
        pixels = decode(content, "folder/x.jpg")
    except CorruptImage as error:
        assert str(error).startswith("folder/x.jpg: ")  # noqa: PT017
    else:  # only bytes after the pixels were lost
        np.testing.assert_array_equal(pixels, decode(ALL[name], name))


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "gray jpeg", "cmyk jpeg", "jpeg of orientation 6", "png"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_an_image_that_ends_half_way_is_refused_with_its_name(name, share):
    with pytest.raises(CorruptImage, match=r"^set/7\.jpg: cannot be decoded: .*[Tt]runcated"):
        decode(ALL[name][: int(share * len(ALL[name]))], "set/7.jpg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"^x: is empty \(0 bytes\)"),
        (b"no image at all", r"^x: not an image, or truncated in its header \(15 bytes, starting with b'no image'\)"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "^x: "),
        (JPEGS["jpeg"][:60], "^x: "),
        (LOSSLESS["png"][:20], "^x: "),
    ],
)
def test_what_is_no_image_is_refused(content, message):
    with pytest.raises(CorruptImage, match=message):
        decode(content, "x")


def png_of(width, height):
    """Return a PNG that claims a size, and has no pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_of(width, height):
    """Return a JPEG whose header claims another size."""
    content = bytearray(JPEGS["jpeg"])
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize("content", [png_of(60_000, 60_000), jpeg_of(60_000, 60_000)])
def test_a_decompression_bomb_is_refused_before_memory_is_taken(content):
    with pytest.raises(CorruptImage, match=r"x: .*decompression bomb"):
        decode(content, "x")


def test_a_setting_of_pillow_that_hides_truncation_is_refused(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UserError, match="LOAD_TRUNCATED_IMAGES is set"):
        decode(JPEGS["jpeg"][:-300], "x")


@pytest.mark.parametrize("name", ALL)
def test_looking_at_a_whole_image_finds_nothing(tmp_path, name):
    images = Encoded.of_files(tmp_path, write_files(tmp_path, {"a": ALL[name]}))
    check_file(images, 0)  # raises where it finds something
    assert decode(images.read(0), "a").shape[2] == 3


@pytest.mark.parametrize("name", ["jpeg", "jpeg of orientation 6", "progressive jpeg", "png", "gif", "bmp"])
@pytest.mark.parametrize("keep", [0, 5, 200, -40])
def test_looking_at_a_truncated_image_finds_it(tmp_path, name, keep):
    images = Encoded.of_files(tmp_path, write_files(tmp_path, {"a": ALL[name][:keep]}))
    with pytest.raises(CorruptImage, match=f"^{tmp_path}/a: "):
        check_file(images, 0)


def test_looking_decodes_only_what_seems_damaged(tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(decode_module, "decode", lambda content, name: decoded.append(name))
    names = write_files(tmp_path, {"a": JPEGS["jpeg"], "b": LOSSLESS["png"], "c": JPEGS["jpeg"][:-90]})
    for i in range(3):
        check_file(Encoded.of_files(tmp_path, names), i)
    assert decoded == [f"{tmp_path}/c"]


def test_images_inside_a_larger_file_are_looked_at_one_by_one(tmp_path):
    parts = [JPEGS["jpeg"], LOSSLESS["png"], JPEGS["jpeg"][:-90], LOSSLESS["bmp"]]
    (tmp_path / "shard").write_bytes(b"".join(parts))
    lengths = np.array([len(part) for part in parts])
    images = Encoded(str(tmp_path), Names.of(["shard"]), np.zeros(4, int), np.cumsum(lengths) - lengths, lengths)
    for i in (0, 1, 3):
        check_file(images, i)
    with pytest.raises(CorruptImage, match=r"shard \(image 2\): "):
        check_file(images, 2)


def test_looking_at_a_missing_file_names_it(tmp_path):
    with pytest.raises(UserError, match=r"gone\.jpg: cannot be read: No such file"):
        check_file(Encoded.of_files(tmp_path, ["gone.jpg"]), 0)


def test_decoding_leaves_writable_contiguous_pixels():
    for name, content in ALL.items():
        pixels = decode(content, name)
        assert pixels.flags.writeable, name
        assert pixels.flags.c_contiguous, name


def test_pillow_reads_what_the_tests_write():
    assert Image.open(io.BytesIO(JPEGS["cmyk jpeg"])).mode == "CMYK"
    assert Image.open(io.BytesIO(LOSSLESS["palette png"])).mode == "P"
    assert Image.open(io.BytesIO(LOSSLESS["gray png of 16 bits"])).mode.startswith("I")


def test_real_photographs_are_what_pillow_makes_of_them(shared_data):
    table = pq.ParquetFile(shared_data / "caltech101" / "caltech101_20x30.parquet").read(columns=["image"])
    contents = [row["image"]["bytes"] for row in table.slice(0, 30).to_pylist()]
    contents += [(shared_data / "orl_faces" / f"s{i}" / "1.pgm").read_bytes() for i in range(1, 5)]
    for content in contents:
        pixels, expected = decode(content, "x"), by_pillow(content)
        assert pixels.shape == expected.shape
        assert np.abs(pixels.astype(int) - expected).max() <= 2
