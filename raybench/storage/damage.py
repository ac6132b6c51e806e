"""Move damaged artifacts to the folder `damaged/` of the storage, where they are neither read nor in the way."""

import uuid
from contextlib import suppress

from pyarrow import fs

DAMAGED = "damaged"


def move_aside(filesystem: fs.FileSystem, root: str, key: str) -> None:
    """Move a key, and the files that belong to the same artifact.

    The files `models/X.pt` and `X.json`, or `scores/X.parquet` and `X-samples.parquet`, are one artifact: a record
    whose existence means that a job is done must not outlive what it describes.
    """
    folder, name = key.rsplit("/", 1)
    names = [name]
    if key.startswith("artifacts/"):
        infos = filesystem.get_file_info(fs.FileSelector(f"{root}/{folder}", allow_not_found=True))
        names += [info.base_name for info in infos if info.base_name != name and _stem(info.base_name) == _stem(name)]
    for one in names:
        _move(filesystem, f"{root}/{folder}/{one}", f"{root}/{DAMAGED}/{folder}/{one}")


def _stem(name: str) -> str:
    return name.split(".")[0].removesuffix("-samples")


def _move(filesystem: fs.FileSystem, source: str, target: str) -> None:
    kind = filesystem.get_file_info(source).type
    if kind == fs.FileType.NotFound:  # it was missing, or another process was faster
        return
    filesystem.create_dir(target.rsplit("/", 1)[0], recursive=True)
    if kind == fs.FileType.Directory:
        target = f"{target}-{uuid.uuid4().hex[:8]}"  # a folder does not replace another one
        filesystem.create_dir(target, recursive=True)
        for info in filesystem.get_file_info(fs.FileSelector(source)):
            filesystem.move(info.path, f"{target}/{info.base_name}")
        filesystem.delete_dir(source)
        return
    with suppress(FileNotFoundError):
        filesystem.move(source, target)
