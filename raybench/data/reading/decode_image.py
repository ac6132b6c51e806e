"""Decode one image file to uint8 RGB pixels, rotated upright by its EXIF orientation, as Pillow does.

Plain gray and color JPEG files use torchvision's decoder, which gives the same pixels without Pillow's extra copies
(1.0 to 1.3 times as fast, and it releases the interpreter lock); everything else uses Pillow, including PNG, where
metadata may follow the pixels. A truncated file is an error and is never padded with gray.
"""

import functools
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from raybench.data.reading.encoded import WHOLE, Encoded
from raybench.errors import UserError

PIXELS_LIMIT = 89_478_485  # above this, Pillow decides whether an image is a decompression bomb
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
JPEG_END, PNG_END = b"\xff\xd9", b"\x00\x00\x00\x00IEND\xaeB`\x82"
TAIL = 64  # bytes at the end that are searched for an end marker; some writers add padding after it
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of the frame header of a JPEG
RGB = 3  # torchvision.io.ImageReadMode.RGB


class CorruptImage(UserError):
    """An image that cannot be decoded; the message names the file and the defect."""


@dataclass(frozen=True)
class JpegHeader:
    """Properties of a JPEG from the segments before its first scan."""

    bits: int
    pixels: int
    components: int
    has_metadata: bool  # EXIF or XMP, either of which may hold an orientation


def decode(content: bytes, name: str) -> np.ndarray:
    """Return the pixels of an encoded image, uint8 (H, W, 3); the first frame if there are several.

    Equal to `ImageOps.exif_transpose(Image.open(...)).convert("RGB")`, within one or two levels for JPEG: alpha is
    dropped, palettes and CMYK are converted, 16-bit gray is clipped at 255. Raises CorruptImage, which names the image
    as `name`. Does not detect damaged or missing pixels between valid markers of a JPEG.
    """
    if not content:
        raise CorruptImage(f"{name}: is empty (0 bytes)")
    pixels = decode_plain_jpeg(content) if content.startswith(JPEG) else None
    return decode_by_pillow(content, name) if pixels is None else pixels


def check_file(encoded: Encoded, i: int) -> None:
    """Raise CorruptImage if image `i` is damaged, judging by its header and its end (about 30 us, without decoding).

    Detects truncated files; damage in the middle shows only when the image is decoded. Files that are neither JPEG nor
    PNG, and files that seem damaged, are decoded to be sure.
    """
    start, length = int(encoded.offset[i]), int(encoded.length[i])
    try:
        with open(encoded.name(i), "rb") as file:
            if length == WHOLE:
                length = os.fstat(file.fileno()).st_size
            file.seek(start)
            head = file.read(min(len(PNG), length))
            file.seek(start + max(0, length - TAIL))
            tail = file.read(min(TAIL, length))
            if head.startswith(JPEG):
                intact = JPEG_END in tail and read_jpeg_header(file, start) is not None
            else:
                intact = head == PNG and PNG_END in tail
    except OSError as error:
        raise UserError(f"{encoded.name(i)}: cannot be read: {error.strerror}") from error
    if not intact:
        decode(encoded.read(i), describe(encoded, i))


def describe(encoded: Encoded, i: int) -> str:
    """Name image `i` in an error message: its file, and its number if the file holds several images."""
    return encoded.name(i) if encoded.length[i] == WHOLE else f"{encoded.name(i)} (image {i})"


def decode_plain_jpeg(content: bytes) -> np.ndarray | None:
    """Decode an 8-bit gray or color JPEG without metadata; return None for any other file and on failure."""
    header = read_jpeg_header(io.BytesIO(content), 0)
    decoder = torchvision_decoder()
    if header is None or decoder is None or header.bits != 8 or header.components not in (1, 3):
        return None
    if header.has_metadata or not 0 < header.pixels <= PIXELS_LIMIT:
        return None
    try:
        return decoder(torch.frombuffer(bytearray(content), dtype=torch.uint8), RGB, False).permute(1, 2, 0).numpy()
    except RuntimeError:
        return None  # Pillow decides, and reports the defect


def decode_by_pillow(content: bytes, name: str) -> np.ndarray:
    """Decode any format that Pillow supports; raise CorruptImage on failure."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise UserError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, so truncated images are padded with gray; set it to False"
        )
    try:
        with Image.open(io.BytesIO(content)) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise CorruptImage(
            f"{name}: not an image, or truncated in its header ({len(content)} bytes, starting with {content[:8]!r})"
        ) from error
    except Exception as error:  # any error of a decoder is caused by the bytes
        raise CorruptImage(f"{name}: cannot be decoded: {error}") from error


def read_jpeg_header(file: BinaryIO, start: int) -> JpegHeader | None:
    """Read the segments of the JPEG that begins at `start` up to its first scan; None if they are invalid."""
    position = start + 2
    frame = b""
    has_metadata = False
    while True:
        file.seek(position)
        segment = file.read(10)
        if len(segment) < 4 or segment[0] != 0xFF:
            return None
        marker = segment[1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xDA:
            break
        if marker in FRAMES:
            frame = segment
        has_metadata |= marker == 0xE1
        position += 2 + int.from_bytes(segment[2:4], "big")
    if len(frame) < 10:
        return None
    height, width = int.from_bytes(frame[5:7], "big"), int.from_bytes(frame[7:9], "big")
    return JpegHeader(bits=frame[4], pixels=height * width, components=frame[9], has_metadata=has_metadata)


@functools.cache
def torchvision_decoder() -> Callable[[Tensor, int, bool], Tensor] | None:
    """Return the operator behind torchvision.io.decode_jpeg, or None if torchvision was built without it.

    The Python function warns at every call that torchvision will remove it; once it is gone, Pillow decodes instead.
    """
    try:
        import torchvision.io  # noqa: F401  (imported late: it takes longer than torch itself)

        return torch.ops.image.decode_jpeg
    except (ImportError, AttributeError, RuntimeError):
        return None
