"""From what an experiment says about its images to images in the store: read, decoded, normalized, published once.

Files that are to be resident are decoded once per content and view; files that are streamed are listed and looked at.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from raybench import data
from raybench.config.data import Images, Normalize
from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.perceptual_hash import deduplicate
from raybench.data.reading import decoding, resident
from raybench.data.reading.decoding import CORRUPT, summary
from raybench.data.reading.encoded import CHANNELS, Encoded
from raybench.data.reading.short_side import ShortSide, cache
from raybench.errors import UserError
from raybench.progress import Reporter
from raybench.storage.store import Store, fingerprint

DECODER = 1  # raise it when a change of the code changes decoded pixels
RESIDENT_LIMIT = 8 * 10**9  # bytes of pixels above which `stream: auto` decodes again and again instead
CACHE = Path("~/.cache/raybench")  # where a node keeps images that live on a remote storage


def load(given: Images, store: Store, reporter: Reporter) -> ImageData:
    """Return the images that `data:` asks for: decoded or to be streamed, deduplicated, with their normalization."""
    root = Path(given.root).expanduser() if given.root is not None else None
    images = data.load(given.dataset, root=root, download=given.download, **given.options)
    if isinstance(images.images, Encoded):
        images = _decoded(images, images.images, given, store, reporter)
    elif given.view is not None:
        raise UserError(f"data.view is for files of any size; {given.dataset} has one size (allowed: data.resize)")
    if given.deduplicate == "perceptual_hash":
        images, twins = deduplicate(images)
        reporter.print(f"left out {len(twins)} images whose perceptual hash equals that of one before them")
    if given.normalize == "none":
        return replace(images, mean=(0.0,) * images.channels, std=(1.0,) * images.channels)
    if isinstance(given.normalize, Normalize):
        return replace(images, mean=tuple(given.normalize.mean), std=tuple(given.normalize.std))
    return images


def _decoded(images: ImageData, encoded: Encoded, given: Images, store: Store, reporter: Reporter) -> ImageData:
    if given.view is None:
        raise UserError(
            f"data.view is missing: the images of {given.dataset} are files of any size, which need one, for instance "
            "view: {size: 224, resize: 256}"
        )
    if given.resize is not None:
        raise UserError("data.resize is for images of one size; files get theirs from data.view")
    size = len(encoded) * given.view.size**2 * CHANNELS
    streamed = size > RESIDENT_LIMIT if given.stream == "auto" else given.stream
    # a set that is decoded is read anyway; of one that is streamed, names and sizes must do
    content = [encoded.fingerprint(content=not streamed), images.fingerprint(), given.view.model_dump()]
    key = f"artifacts/data/{'inspected' if streamed else 'decoded'}-{fingerprint(DECODER, content)}"
    if not store.exists(f"{key}.json"):
        unit = "images to look at" if streamed else f"images, {size / 1e9:.2g} GB"
        with reporter.stage("inspect" if streamed else "decode", unit, total=len(encoded)) as stage:
            if streamed:
                found, corrupt = decoding.inspect_all(images, on_corrupt=given.on_corrupt, progress=stage.advance)
            else:
                found, corrupt = decoding.decode_all(
                    images, given.view, on_corrupt=given.on_corrupt, progress=stage.advance
                )
                _put(found, store, key)
        bad = np.flatnonzero(found.part != images.part).tolist()
        store.write_json(f"{key}.json", {"corrupt": dict(zip(map(str, bad), corrupt))})
    corrupt_by_id = store.read_json(f"{key}.json")["corrupt"]
    _mention(list(corrupt_by_id.values()), len(encoded), given.on_corrupt, reporter)
    if not streamed:
        return open_images(store.uri, key)
    part = np.array(images.part)
    part[[int(i) for i in corrupt_by_id]] = LEFT_OUT
    return replace(images, part=part)


def _mention(corrupt: list[str], total: int, on_corrupt: str, reporter: Reporter) -> None:
    """Say which images are left out; refuse them where an earlier run was allowed to skip what this one is not."""
    if not corrupt:
        return
    if on_corrupt == "refuse":
        raise UserError(summary(corrupt, total, CORRUPT))
    reporter.print(summary(corrupt, total, "are corrupt, and left out"))


def publish(images: ImageData, store: Store) -> str:
    """Put the images into the store under their fingerprint, which is the key that this returns."""
    key = f"artifacts/data/{images.fingerprint()}"
    if not store.exists(f"{key}/meta.json"):
        _put(images, store, key)
    return key


def short_side(root: str, uri: str, key: str, shorter: int, reporter: Reporter) -> ShortSide:
    """Return this node's cache of the images of a key, written on first use: about 260 kB an image at 256 pixels."""
    images = located(open_images(uri, key), root)
    folder = CACHE.expanduser() / "short-side" / f"{Path(key).name}-{shorter}"
    if folder.is_dir():
        return cache(images, folder, short_side=shorter)
    with reporter.stage("cache", f"images at {shorter} pixels", total=images.num_samples) as stage:
        return cache(images, folder, short_side=shorter, progress=stage.advance)


def located(images: ImageData, root: str | None) -> ImageData:
    """Return images that are streamed from where they lie today; an array stays as it is."""
    if isinstance(images.images, Encoded) and root is not None:
        return replace(images, images=replace(images.images, root=root))
    return images


def side(images: ImageData, given: Images) -> int | None:
    """Return the side in pixels of the square that a model sees, or None where images are no squares."""
    if given.view is not None:
        return given.view.size
    height, width = images.pixels.shape[1:3]
    return given.resize or (height if height == width else None)


def _put(images: ImageData, store: Store, key: str) -> None:
    """Save the images under a key: straight into a local store, by way of the node's cache into a remote one."""
    if store.is_local:
        resident.save(images, Path(store.path(key)))
        return
    folder = CACHE.expanduser() / key
    resident.save(images, folder)
    # meta.json last: its existence says that the rest is there
    for file in sorted(folder.iterdir(), key=lambda path: path.name == "meta.json"):
        store.write_bytes(f"{key}/{file.name}", file.read_bytes())


@functools.lru_cache(maxsize=16)
def open_images(uri: str, key: str) -> ImageData:
    """Map the images of a key; a node that does not hold them yet fetches them into its cache first."""
    store = Store(uri)
    folder = Path(store.path(key)) if store.is_local else CACHE.expanduser() / key
    if not (folder / "meta.json").is_file():
        _fetch(store, key, folder)
    return resident.open_resident(folder)


def _fetch(store: Store, key: str, folder: Path) -> None:
    cache = Store(str(CACHE.expanduser()))
    names: Sequence[str] = store.keys(key)
    for name in sorted(names, key=lambda name: name.endswith("meta.json")):
        cache.write_bytes(name, store.read_bytes(name))
