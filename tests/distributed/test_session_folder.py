"""The folder of a local Ray: private, removed at the end or by the next run, never that of a living process."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from raybench.distributed import session_folder
from raybench.distributed.session_folder import SessionFolder, remove_stale


@pytest.fixture
def temporary(tmp_path_factory, monkeypatch):
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    monkeypatch.setattr(session_folder, "_parent", lambda: folder)
    yield folder
    subprocess.run(["rm", "-r", str(folder)], check=True)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_owner_can_enter_it_whatever_ray_does_to_its_own_folders(temporary):
    folder = SessionFolder()
    os.chmod(folder.path, 0o777)  # Ray does so
    assert mode(folder.path.parent) == 0o700
    folder.remove()
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(temporary):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom raybench.distributed import session_folder as s\n"
        "s._parent = lambda: Path(sys.argv[1])\nf = s.SessionFolder()\n(f.path / 'log').write_text('x')\n"
        "print(f.path.parent, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(temporary)], stdout=subprocess.PIPE, text=True) as process:
        folder = Path(process.stdout.readline().strip())
        remove_stale()
        assert (folder / "r" / "log").exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
    remove_stale()
    assert not folder.exists()


def test_a_folder_that_a_dying_worker_makes_again_is_removed(temporary):
    (temporary / "rb-again" / "r" / "session_2026" / "logs").mkdir(parents=True)
    (temporary / "rb-of-ray-itself" / "session_2026").mkdir(parents=True)
    remove_stale()
    assert [path.name for path in temporary.iterdir()] == ["rb-of-ray-itself"]


def test_other_folders_stay(temporary):
    (temporary / "rb-of-an-earlier-version").mkdir()
    (temporary / "rb-link").symlink_to("/tmp")
    (temporary / "other").mkdir()
    remove_stale()
    assert len(list(temporary.iterdir())) == 3
    os.utime(temporary / "rb-of-an-earlier-version", (0, 0))
    remove_stale()
    assert sorted(path.name for path in temporary.iterdir()) == ["other", "rb-link"]


def test_what_cannot_be_removed_yet_is_left_to_the_next_run(temporary, monkeypatch):
    folder = SessionFolder()
    with monkeypatch.context() as patch:
        patch.setattr(session_folder.shutil, "rmtree", lambda *_, **__: None)  # a process still writes there
        folder.remove()
    assert (folder.path.parent / "lock").exists()
    remove_stale()
    assert list(temporary.iterdir()) == []


def test_the_paths_of_sockets_fit(monkeypatch):
    """Ray's longest path below its folder, with a process id of seven digits; Linux allows 107 characters."""
    below = "/session_2026-11-21_17-48-00_951339_1234567/sockets/plasma_store"
    monkeypatch.setattr(tempfile, "tempdir", "/" + "t" * (session_folder.LONGEST_PARENT - 1))
    assert len(f"{session_folder._parent()}/rb-abcdefgh/r{below}") <= 107
    monkeypatch.setattr(tempfile, "tempdir", "/" + "t" * session_folder.LONGEST_PARENT)
    assert session_folder._parent() == Path("/tmp")


def test_a_lock_does_not_survive_in_child_processes(temporary):
    folder = SessionFolder()
    with subprocess.Popen(["sleep", "30"]) as child:
        os.close(folder._lock)
        descriptor = os.open(folder.path.parent / "lock", os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
        child.kill()
