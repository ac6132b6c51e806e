"""Small pictures of samples inside the page, each stored once however often it is shown."""

import base64
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

SIDE = 64  # pixels: larger images are scaled down
SMALL = 40  # pixels: smaller images are stored without loss and shown with hard edges
BUDGET = 1_500_000  # bytes of all pictures of a page, which has to stay below 5 MB


@dataclass(frozen=True)
class Pictures:
    """The images of a run's data set; `read` is None where the page must not show them."""

    class_names: tuple[str, ...]
    labels: np.ndarray  # by sample id
    read: Callable[[int], np.ndarray] | None  # sample id to uint8 (H, W, C), C is 1 or 3


@dataclass(frozen=True)
class Thumbnails:
    """The pictures of some samples: `style` goes into the head of the page, `show` returns the element of a sample."""

    style: str
    ids: frozenset[int]

    def show(self, sample: int) -> str:
        """Return the picture of a sample; empty if there is none."""
        if sample not in self.ids:
            return ""
        return f'<span class="thumbnail sample-{sample}" role="img" aria-label="{escape(f"sample {sample}")}"></span>'


def thumbnails(pictures: Pictures | None, ids: Iterable[int]) -> Thumbnails:
    """Return the pictures of the samples, in this order until the page has no room for more."""
    rules: dict[int, str] = {}
    if pictures is None or pictures.read is None:
        return Thumbnails("", frozenset())
    size = 0
    for sample in dict.fromkeys(ids):
        rule = _rule(pictures.read(sample))
        size += len(rule)
        if size > BUDGET:
            break
        rules[sample] = f".sample-{sample} {{ {rule} }}"
    return Thumbnails("\n".join(rules.values()), frozenset(rules))


def _rule(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    small = max(image.size) <= SMALL
    image.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    image.save(stream, "PNG" if small else "JPEG", **({"optimize": True} if small else {"quality": 80}))
    kind, content = "png" if small else "jpeg", base64.b64encode(stream.getvalue()).decode()
    edges = " image-rendering: pixelated;" if small else ""
    return f'background-image: url("data:image/{kind};base64,{content}");{edges}'
