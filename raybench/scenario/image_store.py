"""Read the images of an experiment and write them to the store, once per content and view.

Datasets that fit into memory are decoded; larger ones are listed, checked and streamed.
"""

import functools
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from raybench import data
from raybench.config.data import Images, Normalize
from raybench.data.images import LEFT_OUT, ImageData
from raybench.data.perceptual_hash import deduplicate
from raybench.data.reading import decode_dataset, resident
from raybench.data.reading.decode_dataset import CORRUPT, summarize
from raybench.data.reading.encoded import CHANNELS, Encoded
from raybench.data.reading.short_side import ShortSide, cache
from raybench.errors import UserError
from raybench.progress import Reporter
from raybench.storage import seals
from raybench.storage.store import Store, fingerprint

DECODER = 1  # increase it when a code change changes decoded pixels
RESIDENT_LIMIT = 8 * 10**9  # bytes of pixels above which `stream: auto` decodes for every use
CHECKSUMS = "checksums.json"  # of all other files in a folder of images
CACHE = Path("~/.cache/raybench")  # where a node keeps images of a remote store


def load(config: Images, store: Store, reporter: Reporter) -> ImageData:
    """Read the images of a `data:` section: decoded or to be streamed, deduplicated, with their normalization."""
    root = Path(config.root).expanduser() if config.root is not None else None
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
    content = [encoded.fingerprint(content=not streamed), images.fingerprint(), config.view.model_dump()]
    key = f"artifacts/data/{'inspected' if streamed else 'decoded'}-{fingerprint(DECODER, content)}"
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


def _report_corrupt(corrupt: list[str], total: int, on_corrupt: str, reporter: Reporter) -> None:
    """Report images that are left out; refuse them if only an earlier run was allowed to skip them."""
    if not corrupt:
        return
    if on_corrupt == "refuse":
        raise UserError(summarize(corrupt, total, CORRUPT))
    reporter.print(summarize(corrupt, total, "are corrupt, and left out"))


def publish(images: ImageData, store: Store) -> str:
    """Write the images to the store under their fingerprint; return the key."""
    key = f"artifacts/data/{images.fingerprint()}"
    if not store.exists(f"{key}/meta.json"):
        _save(images, store, key)
    else:
        _verify(store, key)
    return key


def _verify(store: Store, key: str) -> None:
    """Compare the files of a key with their checksums, once per run; raise DamagedError if they differ."""
    folder = _folder(store, key)
    if not store.is_local and (not (folder / "meta.json").is_file() or _damage(folder)):
        shutil.rmtree(folder, ignore_errors=True)
        _fetch(store, key, folder)
    if reason := _damage(folder):
        open_images.cache_clear()
        if not store.is_local:
            shutil.rmtree(folder, ignore_errors=True)
        raise store.set_aside(key, reason)


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
    if store.is_local:
        resident.save(images, Path(store.path(key)), finish=_write_checksums)
        return
    folder = CACHE.expanduser() / key
    resident.save(images, folder, finish=_write_checksums)
    # meta.json last: its existence marks the others as complete
    for file in sorted(folder.iterdir(), key=lambda path: path.name == "meta.json"):
        store.write_bytes(f"{key}/{file.name}", file.read_bytes())


def _write_checksums(folder: Path) -> None:
    checksums = {path.name: _checksum(path) for path in folder.iterdir()}
    (folder / CHECKSUMS).write_bytes(seals.json_bytes(checksums))


def _damage(folder: Path) -> str | None:
    """Return what is wrong with the files of a folder, in words; None if they are byte for byte as written."""
    try:
        checksums = seals.read_json((folder / CHECKSUMS).read_bytes())
        damaged = [name for name, value in checksums.items() if _checksum(folder / name) != value]
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except seals.Damaged as error:
        return f"{CHECKSUMS}: {error}"
    return f"{damaged[0]} differs from its checksum" if damaged else None


def _checksum(path: Path) -> str:
    """Hash a file; one gigabyte takes about a second."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@functools.lru_cache(maxsize=16)
def open_images(uri: str, key: str) -> ImageData:
    """Map the images of a key into memory; fetch them into the node's cache first if they are not there."""
    store = Store(uri)
    folder = _folder(store, key)
    if not (folder / "meta.json").is_file():
        _fetch(store, key, folder)
    return resident.open_resident(folder)


def _folder(store: Store, key: str) -> Path:
    """Return where this node reads the files of a key: the storage, or the cache of a remote one."""
    return Path(store.path(key)) if store.is_local else CACHE.expanduser() / key


def _fetch(store: Store, key: str, folder: Path) -> None:
    """Copy the images of a key from a remote store into the node's cache, meta.json last."""
    cache = Store(str(CACHE.expanduser()))
    names: Sequence[str] = store.keys(key)
    for name in sorted(names, key=lambda name: name.endswith("meta.json")):
        cache.write_bytes(name, store.read_bytes(name))
