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

from raybench import limits
from raybench.data.reading.encoded import WHOLE, Encoded, open_regular
from raybench.errors import UserError

# Pillow opens other formats too, and some by starting a program (EPS: ghostscript)
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
JPEG_END, PNG_END = b"\xff\xd9", b"\x00\x00\x00\x00IEND\xaeB`\x82"
TAIL = 64  # bytes at the end that are searched for an end marker; some writers add padding after it
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of the frame header of a JPEG
PNG_SIZE = 16, 24  # bytes of the width and the height, four each
RGB = 3  # torchvision.io.ImageReadMode.RGB


class CorruptImage(UserError):
    """An image that cannot be decoded; the message names the file and the defect."""


@dataclass(frozen=True)
class JpegHeader:
    """Properties of a JPEG from the segments before its first scan."""

    bits: int
    height: int
    width: int
    components: int
    has_metadata: bool  # EXIF or XMP, either of which may hold an orientation


def decode(content: bytes, name: str) -> np.ndarray:
    """Return the pixels of an encoded image, uint8 (H, W, 3); the first frame if there are several.

    Equal to `ImageOps.exif_transpose(Image.open(...)).convert("RGB")`, within one or two levels for JPEG: alpha is
    dropped, palettes and CMYK are converted, 16-bit gray is clipped at 255. Raises CorruptImage, which names the image
    as `name`, for an image that is damaged or larger than the limits of `raybench.limits`. Does not detect damaged or
    missing pixels between valid markers of a JPEG.
    """
    if not content:
        raise CorruptImage(f"{name}: is empty (0 bytes)")
    pixels = decode_plain_jpeg(content) if content.startswith(JPEG) else None
    if pixels is None:
        return decode_by_pillow(content, name)
    check_size(pixels.shape[0], pixels.shape[1], name)
    return pixels


def check_file(encoded: Encoded, i: int) -> None:
    """Raise CorruptImage if image `i` is damaged, judging by its header and its end (about 30 us, without decoding).

    Detects truncated files; damage in the middle shows only when the image is decoded. Files that are neither JPEG nor
    PNG, and files that seem damaged, are decoded to be sure.
    """
    start, length = int(encoded.offset[i]), int(encoded.length[i])
    try:
        with open_regular(encoded.name(i)) as file:
            if length == WHOLE:
                length = os.fstat(file.fileno()).st_size
            file.seek(start)
            head = file.read(min(PNG_SIZE[1], length))
            file.seek(start + max(0, length - TAIL))
            tail = file.read(min(TAIL, length))
            if head.startswith(JPEG):
                header = read_jpeg_header(file, start)
                intact = JPEG_END in tail and header is not None
                size = (header.height, header.width) if header is not None else (1, 1)
            else:
                intact = head.startswith(PNG) and PNG_END in tail and len(head) == PNG_SIZE[1]
                size = (int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")) if intact else (1, 1)
    except OSError as error:
        raise UserError(f"{encoded.name(i)}: cannot be read: {error.strerror}") from error
    check_size(*size, describe(encoded, i))
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
    if header.has_metadata or not 0 < header.height * header.width <= limits.IMAGE_PIXELS:
        return None  # Pillow reads it, or `check_size` refuses it
    try:
        return decoder(torch.frombuffer(bytearray(content), dtype=torch.uint8), RGB, False).permute(1, 2, 0).numpy()
    except RuntimeError:
        return None  # Pillow decides, and reports the defect


def check_size(height: int, width: int, name: str) -> None:
    """Raise CorruptImage for an image whose pixels, or whose view, would take too much memory."""
    if height * width > limits.IMAGE_PIXELS:
        raise CorruptImage(
            f"{name}: is {width} x {height} pixels (allowed: {limits.IMAGE_PIXELS:,} in all); scale it down"
        )
    if max(height, width) > limits.IMAGE_RATIO * min(height, width):
        raise CorruptImage(
            f"{name}: is {width} x {height} pixels (allowed: one side up to {limits.IMAGE_RATIO} times the other)"
        )


def decode_by_pillow(content: bytes, name: str) -> np.ndarray:
    """Decode one of `FORMATS`; raise CorruptImage on failure."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise UserError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, so truncated images are padded with gray; set it to False"
        )
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            check_size(image.height, image.width, name)
            ImageOps.exif_transpose(image, in_place=True)
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except (CorruptImage, MemoryError):
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
    return JpegHeader(bits=frame[4], height=height, width=width, components=frame[9], has_metadata=has_metadata)


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
