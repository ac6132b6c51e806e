"""Encoded images in the formats, and with the defects, of real image sets."""

import io

import numpy as np
import torch
from PIL import Image, ImageOps

ORIENTATION = 0x0112


def picture(height=60, width=80, *, seed=0):
    """Return a smooth picture with some grain, uint8 RGB: JPEG keeps it to a few levels."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int64)
    return (smooth + generator.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)


def encode(image, kind, **options):
    """Return the bytes of an image (a PIL image, or an array that becomes one)."""
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


def oriented(image, kind, orientation):
    """Return the bytes of an image with an EXIF orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(image, kind, exif=exif)


def by_pillow(content):
    """Decode with Pillow, the reference."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))


def write_files(folder, contents):
    """Write {name: bytes} and return the names."""
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return list(contents)


def batch(n=12, height=32, width=40):
    """Images, including edge cases of histograms and means: uniform, dark, two levels, one gray level, noise."""
    pixels = np.stack([picture(height, width, seed=i) for i in range(n)])
    pixels[0] = 77
    pixels[1] //= 9
    pixels[2] = np.where(pixels[2] > 128, 200, 30)
    pixels[3, ..., 1:] = pixels[3, ..., :1]
    pixels[4] = np.random.default_rng(0).integers(0, 256, pixels[4].shape)
    return pixels


def one_by_one(pixels, change):
    """Apply a torchvision operation on Pillow images to each image separately."""
    images = [Image.fromarray(image if image.shape[2] == 3 else image[..., 0]) for image in pixels]
    return np.stack([np.asarray(change(image, k)).reshape(pixels.shape[1:]) for k, image in enumerate(images)])


def assert_equal(pixels, ours, theirs, device="cpu"):
    """Assert that a batched operation equals torchvision's exactly."""
    made = ours(torch.from_numpy(pixels).to(device)).cpu().numpy()
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, one_by_one(pixels, theirs))
