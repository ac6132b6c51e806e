"""Notice within seconds that Ray died; its own core is silent for a minute, and then aborts the driver's process.

A thread connects to the ports of Ray's control process (GCS) and of the driver's own node (raylet). On the same machine
a refused connection means that the process is gone. On another machine it may be the network, or a control process that
is restarted, so the run waits as long as Ray itself does, and says so.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping

import ray

from raybench import details
from raybench.errors import EXIT_LOST

INTERVAL_SECONDS = 0.5
SURE_SECONDS = 1.0  # of refused connections on the same machine
PATIENCE_SECONDS = 60.0  # without an answer of another machine
NOTICE_SECONDS = 10.0  # before the user is told what the run waits for
CONNECT_SECONDS = 3.0
GRACE_SECONDS = 5.0  # for the run to end after it was interrupted

Address = tuple[str, int]


def died(what: str) -> str:
    """Return the sentence that says so."""
    return f"{what} died during the run"


class Watch:
    """Interrupt the main thread if Ray dies; `dead` then says what died."""

    def __init__(self, addresses: Mapping[str, Address], report: Callable[[str], None]) -> None:
        """Watch what listens at the addresses; `report` is called with what the run waits for."""
        self.dead: str | None = None
        self._report = report
        self._addresses = addresses
        self._silent: dict[str, float] = {}  # since when
        self._told: set[str] = set()
        self._done = threading.Event()
        self._main = threading.main_thread() is threading.current_thread()
        self._thread = threading.Thread(target=self._run, name="watch Ray", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()

    def confirm(self, seconds: float = 3 * SURE_SECONDS) -> str | None:
        """Return what died, after an error that may come before the connection is refused; wait so long for it."""
        deadline = time.monotonic() + seconds
        while self.dead is None and time.monotonic() < deadline:
            time.sleep(INTERVAL_SECONDS / 5)
        return self.dead

    def _run(self) -> None:
        while not self._done.wait(INTERVAL_SECONDS):
            for what, address in self._addresses.items():
                if self._is_dead(what, address):
                    self.dead = what
                    self._interrupt()
                    return

    def _interrupt(self) -> None:
        if self._main and not self._done.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            # Ray may wait for what died; its processes end with this one, and the parent prints the sentence
            if not self._done.wait(GRACE_SECONDS) and details.stream() is not None:
                os._exit(EXIT_LOST)

    def _is_dead(self, what: str, address: Address) -> bool:
        started = time.monotonic()
        try:
            socket.create_connection(address, timeout=CONNECT_SECONDS).close()
        except OSError as error:
            since = self._silent.setdefault(what, started)
            here = isinstance(error, ConnectionRefusedError) and _is_here(address[0])
            silent = time.monotonic() - since
            if here and since == started:  # Ray's core may end this process at any moment
                details.note(died(what))
            if not here and silent > NOTICE_SECONDS and what not in self._told:
                self._told.add(what)
                self._report(
                    f"waiting      {what} at {address[0]}:{address[1]} does not answer; giving up after "
                    f"{PATIENCE_SECONDS:g} seconds"
                )
            return silent >= (SURE_SECONDS if here else PATIENCE_SECONDS)
        self._silent.pop(what, None)
        return False


def addresses_of_ray() -> dict[str, Address]:
    """Return the addresses of the Ray that is connected."""
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    addresses = {"Ray's control process (GCS)": (host.strip("[]"), int(port))}
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["NodeID"] == context.get_node_id():
            addresses["Ray's node process (raylet)"] = (node["NodeManagerAddress"], int(node["NodeManagerPort"]))
    return addresses


def _is_here(host: str) -> bool:
    """Return whether a host is this machine: only then can a socket be bound to its address."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
