"""Read the images of an experiment and write them to the store, once per content and view.

Datasets that fit into memory are decoded; larger ones are listed, checked and streamed.
"""

import functools
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from raybench import data
from raybench.config.data import Images, Normalize
from raybench.data.files import listed_folders
from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.perceptual_hash import deduplicate
from raybench.data.reading import decode_dataset, resident
from raybench.data.reading.decode_dataset import CORRUPT, summarize
from raybench.data.reading.encoded import CHANNELS, Encoded
from raybench.data.reading.short_side import ShortSide, cache
from raybench.errors import UserError
from raybench.progress import Reporter
from raybench.storage import checksums
from raybench.storage.errors import DamagedError
from raybench.storage.store import Store, fingerprint

DECODER = 1  # increase it when a code change changes decoded pixels
RESIDENT_LIMIT = 8 * 10**9  # bytes of pixels above which `stream: auto` decodes for every use
DATA = "artifacts/data"
CACHE = Path("~/.cache/raybench")  # where a node keeps images of a remote store


def load(config: Images, store: Store, reporter: Reporter, *, trust_listing: bool = False) -> ImageData:
    """Read the images of a `data:` section: decoded or to be streamed, deduplicated, with their normalization.

    `trust_listing`: do not list folders again that did not change since an earlier process listed them; the content of
    their files may have changed. For a plan, not for a run.
    """
    root = Path(config.root).expanduser() if config.root is not None else None
    with listed_folders.remembered(root, CACHE.expanduser() / "listings", trust=trust_listing):
        images = data.load(config.dataset, root=root, download=config.download, **config.options)
    if isinstance(images.images, Encoded):
        images = _decode_or_check(images, images.images, config, store, reporter)
    elif config.view is not None:
        raise UserError(
            f"data.view is for files of any size; all images of {config.dataset} have one size (use data.resize)"
        )
    if config.deduplicate == "perceptual_hash":
        images, copies = deduplicate(images)
        reporter.print(f"left out {len(copies)} images whose perceptual hash equals that of an earlier image")
    if config.normalize == "none":
        return replace(images, mean=(0.0,) * images.channels, std=(1.0,) * images.channels)
    if isinstance(config.normalize, Normalize):
        return replace(images, mean=tuple(config.normalize.mean), std=tuple(config.normalize.std))
    return images


def _decode_or_check(
    images: ImageData, encoded: Encoded, config: Images, store: Store, reporter: Reporter
) -> ImageData:
    """Decode the images into the store, or check the files of images that are streamed; report corrupt images."""
    if config.view is None:
        raise UserError(
            f"data.view is missing: the images of {config.dataset} are files of any size; set for instance "
            "view: {size: 224, resize: 256}"
        )
    if config.resize is not None:
        raise UserError("data.resize is for images of one size; for files set data.view")
    size = len(encoded) * config.view.size**2 * CHANNELS
    streamed = size > RESIDENT_LIMIT if config.stream == "auto" else config.stream
    # Decoding reads all bytes anyway, so they can be hashed; for streamed images, names and sizes have to suffice.
    listed = encoded.fingerprint(content=False) if streamed else _content(encoded, store)
    content = [listed, images.fingerprint(), config.view.model_dump()]
    key = f"{DATA}/{'inspected' if streamed else 'decoded'}-{fingerprint(DECODER, content)}"
    if not store.exists(f"{key}.json"):
        unit = "images to check" if streamed else f"images, {size / 1e9:.2g} GB"
        with reporter.stage("inspect" if streamed else "decode", unit, total=len(encoded)) as stage:
            if streamed:
                checked, corrupt = decode_dataset.check_all(
                    images, on_corrupt=config.on_corrupt, progress=stage.advance
                )
            else:
                checked, corrupt = decode_dataset.decode_all(
                    images, config.view, on_corrupt=config.on_corrupt, progress=stage.advance
                )
                _save(checked, store, key)
        corrupt_ids = np.flatnonzero(checked.part != images.part).tolist()
        store.write_json(f"{key}.json", {"corrupt": dict(zip(map(str, corrupt_ids), corrupt))})
    corrupt_by_id = store.read_json(f"{key}.json")["corrupt"]
    _report_corrupt(list(corrupt_by_id.values()), len(encoded), config.on_corrupt, reporter)
    if not streamed:
        _verify(store, key)
        return open_images(store.uri, key)
    part = np.array(images.part)
    part[[int(i) for i in corrupt_by_id]] = LEFT_OUT
    return replace(images, part=part)


def _content(encoded: Encoded, store: Store) -> str:
    """Hash all bytes of the images, or read the hash of files that did not change since they were hashed."""
    key = f"{DATA}/content-{encoded.appearance()}.json"
    if not store.exists(key):
        store.write_json(key, {"content": encoded.fingerprint(content=True)})
    content: str = store.read_json(key)["content"]
    return content


def _report_corrupt(corrupt: list[str], total: int, on_corrupt: str, reporter: Reporter) -> None:
    """Report images that are left out; refuse them if only an earlier run was allowed to skip them."""
    if not corrupt:
        return
    if on_corrupt == "refuse":
        raise UserError(summarize(corrupt, total, CORRUPT))
    reporter.print(summarize(corrupt, total, "are corrupt, and left out"))


def publish(images: ImageData, store: Store) -> str:
    """Write the images to the store under their fingerprint, and pixels once whatever else differs; return the key."""
    key = f"{DATA}/{images.fingerprint()}"
    if not store.exists(f"{key}/meta.json"):
        _save(images, store, key)
    else:
        _verify(store, key)
    return key


def _verify(store: Store, key: str) -> None:
    """Compare the files of a key, and of its pixels, with their checksums; raise DamagedError if they differ."""
    folder = _folder(store, key)
    if not store.is_local and (not (folder / "meta.json").is_file() or checksums.damage(folder)):
        _fetch(store, key, folder)
    if reason := checksums.damage(folder):
        raise _set_aside(store, key, reason)
    pixels = resident.pixels_folder(folder)
    if pixels is not None and (reason := checksums.damage(pixels)):
        _set_aside(store, key, reason)  # it refers to them
        raise _set_aside(store, f"{DATA}/{pixels.name}", reason)


def _set_aside(store: Store, key: str, reason: str) -> DamagedError:
    open_images.cache_clear()
    if not store.is_local:
        shutil.rmtree(_folder(store, key), ignore_errors=True)
    return store.set_aside(key, reason)


def open_short_side_cache(root: str, uri: str, key: str, short_side_pixels: int, reporter: Reporter) -> ShortSide:
    """Return this node's cache of the images of a key; write it on first use (about 260 kB per image at 256 pixels)."""
    images = relocate(open_images(uri, key), root)
    folder = CACHE.expanduser() / "short-side" / f"{Path(key).name}-{short_side_pixels}"
    if folder.is_dir():
        return cache(images, folder, short_side=short_side_pixels)
    with reporter.stage("cache", f"images at {short_side_pixels} pixels", total=images.num_samples) as stage:
        return cache(images, folder, short_side=short_side_pixels, progress=stage.advance)


def relocate(images: ImageData, root: str | None) -> ImageData:
    """Return streamed images with the folder that contains them now; arrays are returned unchanged."""
    if isinstance(images.images, Encoded) and root is not None:
        return replace(images, images=replace(images.images, root=root))
    return images


def image_size(images: ImageData, config: Images) -> int | None:
    """Return the size in pixels of the square that a model reads, or None if images are not square."""
    if config.view is not None:
        return config.view.size
    height, width = images.pixels.shape[1:3]
    return config.resize or (height if height == width else None)


def _save(images: ImageData, store: Store, key: str) -> None:
    """Save the images under a key: directly in a local store, through the node's cache in a remote one."""
    folder = _folder(store, key)
    if not isinstance(images.images, Encoded):
        pixels = resident.save_pixels(images.images, folder.parent, finish=checksums.write)
        checksums.mark_verified(pixels)
        images = replace(images, images=resident.open_pixels(pixels))
        _upload(store, f"{DATA}/{pixels.name}")
    resident.save(images, folder, finish=checksums.write)
    checksums.mark_verified(folder)
    _upload(store, key)


def _upload(store: Store, key: str) -> None:
    """Copy a folder of the node's cache to a remote store, unless it is there."""
    if store.is_local or store.exists(f"{key}/meta.json"):
        return
    # meta.json last: its existence marks the others as complete
    files = [path for path in _folder(store, key).iterdir() if path.name != checksums.VERIFIED]
    for file in sorted(files, key=lambda path: path.name == "meta.json"):
        store.write_bytes(f"{key}/{file.name}", file.read_bytes())


@functools.lru_cache(maxsize=16)
def open_images(uri: str, key: str) -> ImageData:
    """Map the images of a key into memory; fetch them into the node's cache first if they are not there."""
    store = Store(uri)
    folder = _folder(store, key)
    if not (folder / "meta.json").is_file():
        _fetch(store, key, folder)
    return resident.open_resident(folder)


def is_here(store: Store, key: str) -> bool:
    """Return whether this node can open the images of a key without fetching them."""
    return (_folder(store, key) / "meta.json").is_file()


def _folder(store: Store, key: str) -> Path:
    """Return where this node reads the files of a key: the storage, or the cache of a remote one."""
    return Path(store.path(key)) if store.is_local else CACHE.expanduser() / key


def _fetch(store: Store, key: str, folder: Path) -> None:
    """Copy the images of a key from a remote store into the node's cache, with the pixels that they refer to."""
    _download(store, key, folder)
    pixels = resident.pixels_folder(folder) if (folder / "meta.json").is_file() else None
    if pixels is not None and checksums.damage(pixels):
        _download(store, f"{DATA}/{pixels.name}", pixels)


def _download(store: Store, key: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    cache = Store(str(CACHE.expanduser()))
    names: Sequence[str] = store.keys(key)
    for name in sorted(names, key=lambda name: name.endswith("meta.json")):  # last: the others are then complete
        cache.write_bytes(name, store.read_bytes(name))
