"""Names of partial files: each says which process writes it, so that what a killed one left is removed at once."""

import functools
import hashlib
import os
import socket
import uuid
from pathlib import Path

FOLDER = ".partial"


def new_key() -> str:
    """Return the key of a new partial file of this process."""
    return f"{FOLDER}/{_machine()}-{os.getpid()}-{uuid.uuid4().hex}"


def is_abandoned(name: str) -> bool:
    """Return whether the process that wrote a partial file was one of this machine, and is gone."""
    machine, _, rest = name.partition("-")
    process = rest.partition("-")[0]
    if not machine or machine != _machine() or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, PermissionError, OverflowError) as error:  # forbidden: it is of another user, and lives
        return isinstance(error, ProcessLookupError)
    return False


@functools.cache
def _machine() -> str:
    """Return a name of this machine since its start, and of the container on it; empty where there is none.

    Numbers of processes mean something only within it.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    return hashlib.blake2b(f"{socket.gethostname()} {boot!r} {container}".encode(), digest_size=6).hexdigest()
