"""The TensorBoard folders of a run: curves that grow while a job runs, and complete ones, on any storage.

Every folder holds one event file, whose steps only increase: TensorBoard drops the points of a curve from a step that
is written again. A growing file is replaced by a complete one when its job ends, so a job that was killed and runs
again leaves neither duplicates nor gaps.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from pyarrow import fs
from tensorboard.compat.proto.event_pb2 import Event

from raybench.storage.events import encode, scalars
from raybench.storage.store import Store

PREFIX = "events.out.tfevents"
LOCAL_SECONDS, REMOTE_SECONDS = 2.0, 15.0  # between two writes of growing curves; a remote file is written as a whole

Points = Sequence[tuple[int, Mapping[str, float]]]


class Curves:
    """The growing curves of one job. A job that ends sooner than the first write is due writes its file once."""

    def __init__(self, store: Store, folder: str, points: Points = ()) -> None:
        self._store, self._folder = store, folder
        self._key = f"{folder}/{_file_name('growing')}"
        self._pending: list[Event] = [scalars(step, values) for step, values in points]
        self._content = b""  # of a remote file, which cannot grow in place
        self._written = time.monotonic()
        self._begun = False

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each curve; steps increase."""
        self._pending.append(scalars(step, values))
        if time.monotonic() - self._written >= (LOCAL_SECONDS if self._store.is_local else REMOTE_SECONDS):
            self.publish()

    def publish(self) -> None:
        """Write the points so far."""
        if not self._pending:
            return
        if not self._begun:  # what an earlier job left, which was killed
            remove(self._store, self._store.keys(self._folder))
        added, self._pending = encode(self._pending, header=not self._begun), []
        if self._store.is_local and self._begun:
            with open(self._store.path(self._key), "ab") as stream:  # TensorBoard follows a file that grows
                stream.write(added)
        else:
            self._content += b"" if self._store.is_local else added
            self._store.write_bytes(self._key, self._content or added, durable=False)
        self._begun = True
        self._written = time.monotonic()


@contextmanager
def growing(store: Store, folder: str, points: Points = ()) -> Iterator[Curves]:
    """Open the curves of a job in a folder of the store, with the `points` of the part that is not done again."""
    curves = Curves(store, folder, points)
    try:
        yield curves
    except BaseException:
        curves.publish()  # how a job went before it failed
        raise


def write_folder(store: Store, folder: str, events: Iterable[Event], *, version: str) -> None:
    """Replace what is in a folder by one complete file; `version` is of 8 hex characters and part of its name."""
    before = store.keys(folder)
    store.write_bytes(f"{folder}/{_file_name(version)}", encode(events), durable=False)
    remove(store, before)


def _file_name(version: str) -> str:
    # TensorBoard reads the files of a folder in the order of their names
    return f"{PREFIX}.{time.time_ns() // 1000}.{os.getpid()}.{version}"


def write_missing(store: Store, root: str, folders: Mapping[str, tuple[str, Callable[[], Iterable[Event]]]]) -> int:
    """Write the folders {path: (version, events)} under `root` that have no complete file of that version.

    Returns how many were written. Which files exist takes one listing.
    """
    complete = {(folder, name.rsplit(".", 1)[-1]) for folder, name in _files(store, root)}
    missing = {path: made for path, made in folders.items() if (path, made[0]) not in complete}
    for path, (version, events) in missing.items():
        write_folder(store, f"{root}/{path}", events(), version=version)
    return len(missing)


def keep_only(store: Store, root: str, folders: Iterable[str]) -> None:
    """Remove the files in all other folders under `root`: an earlier version of the experiment wrote them."""
    kept = set(folders)
    remove(store, [f"{root}/{folder}/{name}" for folder, name in _files(store, root) if folder not in kept])


def _files(store: Store, root: str) -> list[tuple[str, str]]:
    """Return (folder, name) of all event files under a folder of the store."""
    found = store.filesystem.get_file_info(fs.FileSelector(store.path(root), allow_not_found=True, recursive=True))
    start = store.path(root).strip("/") + "/"  # some filesystems return paths with a leading slash
    paths = [info.path.split(start, 1)[-1] for info in found if info.type == fs.FileType.File]
    return [(folder, name) for folder, _, name in (path.rpartition("/") for path in paths)]


def remove(store: Store, keys: Iterable[str]) -> None:
    """Remove files; TensorBoard shows no folder without one."""
    for key in keys:
        store.delete(key)
