"""From the bytes of one image file to its pixels: uint8 RGB, upright by its EXIF orientation, as Pillow gives them.

Plain gray and color JPEG goes through torchvision's decoder, which makes the same pixels without Pillow's copies of
them (1.0 to 1.3 times as fast, and threads do not wait for each other); everything else goes through Pillow, PNG too,
where metadata may follow the pixels. A file that ends early is refused, never filled up with gray.
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

PIXELS_LIMIT = 89_478_485  # above it Pillow decides whether an image is a decompression bomb
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
JPEG_END, PNG_END = b"\xff\xd9", b"\x00\x00\x00\x00IEND\xaeB`\x82"
TAIL = 64  # bytes at the end in which an end marker is looked for: some writers put padding after it
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of a JPEG's frame header
RGB = 3  # torchvision.io.ImageReadMode.RGB


class CorruptImage(UserError):
    """An image that cannot be decoded; the message names the file and says what is wrong."""


@dataclass(frozen=True)
class JpegHeader:
    """What a JPEG says of itself before its first scan."""

    bits: int
    pixels: int
    components: int
    has_metadata: bool  # EXIF or XMP, either of which may hold an orientation


def decode(content: bytes, name: str) -> np.ndarray:
    """Return the pixels of an encoded image, uint8 (H, W, 3); of several frames, the first.

    Equal to `ImageOps.exif_transpose(Image.open(...)).convert("RGB")`, within a level or two for JPEG: alpha is
    dropped, palettes and CMYK are converted, gray of 16 bits is cut off at 255. Raises CorruptImage, which names the
    image as `name`. Not found out: a JPEG whose pixels are damaged or cut short between sound markers.
    """
    if not content:
        raise CorruptImage(f"{name}: is empty (0 bytes)")
    pixels = decode_plain_jpeg(content) if content.startswith(JPEG) else None
    return decode_by_pillow(content, name) if pixels is None else pixels


def look(encoded: Encoded, i: int) -> None:
    """Raise CorruptImage where image `i` seems damaged, from its header and its end (about 30 us, nothing is decoded).

    Finds a file that ends early; damage in the middle shows only when it is decoded. What is neither JPEG nor PNG,
    and what seems damaged, is decoded to be sure.
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
                whole = JPEG_END in tail and read_jpeg_header(file, start) is not None
            else:
                whole = head == PNG and PNG_END in tail
    except OSError as error:
        raise UserError(f"{encoded.name(i)}: cannot be read: {error.strerror}") from error
    if not whole:
        decode(encoded.read(i), describe(encoded, i))


def describe(encoded: Encoded, i: int) -> str:
    """Name image `i` in an error: its file, and its number where the file holds several."""
    return encoded.name(i) if encoded.length[i] == WHOLE else f"{encoded.name(i)} (image {i})"


def decode_plain_jpeg(content: bytes) -> np.ndarray | None:
    """Decode a JPEG of 8 bits, gray or color, without metadata; None where it is not that, or not whole."""
    header = read_jpeg_header(io.BytesIO(content), 0)
    decoder = torchvision_decoder()
    if header is None or decoder is None or header.bits != 8 or header.components not in (1, 3):
        return None
    if header.has_metadata or not 0 < header.pixels <= PIXELS_LIMIT:
        return None
    try:
        return decoder(torch.frombuffer(bytearray(content), dtype=torch.uint8), RGB, False).permute(1, 2, 0).numpy()
    except RuntimeError:
        return None  # Pillow has the last word, and says what is wrong


def decode_by_pillow(content: bytes, name: str) -> np.ndarray:
    """Decode any format that Pillow knows; raises CorruptImage."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise UserError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: it fills truncated images with gray; set it False")
    try:
        with Image.open(io.BytesIO(content)) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise CorruptImage(
            f"{name}: no image, or cut off in its header ({len(content)} bytes, they begin with {content[:8]!r})"
        ) from error
    except Exception as error:  # whatever a decoder of foreign bytes raises is about those bytes
        raise CorruptImage(f"{name}: cannot be decoded: {error}") from error


def read_jpeg_header(file: BinaryIO, start: int) -> JpegHeader | None:
    """Walk the segments of the JPEG that begins at `start` up to its first scan; None where they are broken."""
    place = start + 2
    frame = b""
    has_metadata = False
    while True:
        file.seek(place)
        segment = file.read(10)
        if len(segment) < 4 or segment[0] != 0xFF:
            return None
        marker = segment[1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == 0xDA:
            break
        if marker in FRAMES:
            frame = segment
        has_metadata |= marker == 0xE1
        place += 2 + int.from_bytes(segment[2:4], "big")
    if len(frame) < 10:
        return None
    height, width = int.from_bytes(frame[5:7], "big"), int.from_bytes(frame[7:9], "big")
    return JpegHeader(bits=frame[4], pixels=height * width, components=frame[9], has_metadata=has_metadata)


@functools.cache
def torchvision_decoder() -> Callable[[Tensor, int, bool], Tensor] | None:
    """Return the operator behind torchvision.io.decode_jpeg, or None where torchvision was built without it.

    The function itself warns at every call that it is to leave torchvision; when it has left, Pillow does the work.
    """
    try:
        import torchvision.io  # noqa: F401  (late: it takes longer to import than torch itself)

        return torch.ops.image.decode_jpeg
    except (ImportError, AttributeError, RuntimeError):
        return None
