"""Which project files are packed for a job, and which never are."""

import os
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

from raybench.distributed import packing
from raybench.distributed.packing import pack, project_files, unusual_files
from raybench.errors import UserError

FILES = (
    "experiments/a.yaml",
    "mine/data/loader.py",
    "mine/__pycache__/loader.pyc",
    "data/cifar.bin",
    "runs/a/model.pt",
    "scratch/notes.txt",
    "secret.env",
)


def write(folder: Path, *names: str, content: bytes = b"x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, *FILES)
    (tmp_path / ".gitignore").write_text("__pycache__/\nscratch/\n*.env\n")
    return tmp_path


def test_a_checkout_packs_what_git_tracks_or_does_not_ignore(project: Path) -> None:
    git(project, "init", "-q")
    git(project, "add", "experiments")
    assert project_files(project) == [".gitignore", "experiments/a.yaml", "mine/data/loader.py"]


def test_a_folder_without_git_packs_the_same_files(project: Path) -> None:
    assert project_files(project) == [".gitignore", "experiments/a.yaml", "mine/data/loader.py"]


def test_data_and_results_that_git_tracks_are_packed(project: Path) -> None:
    git(project, "init", "-q")
    git(project, "add", "-f", "data/cifar.bin", "scratch/notes.txt")
    assert {"data/cifar.bin", "scratch/notes.txt"} < set(project_files(project))
    assert not any(name.startswith("runs/") for name in project_files(project))


def test_rayignore_excludes_tracked_files(project: Path) -> None:
    (project / ".rayignore").write_text("mine/\n")
    assert "mine/data/loader.py" not in project_files(project)
    git(project, "init", "-q")
    git(project, "add", "mine", "experiments")
    assert "mine/data/loader.py" not in project_files(project)
    assert "experiments/a.yaml" in project_files(project)


@pytest.mark.parametrize(
    "rules",
    [
        "/*\n!/experiments/\n",
        "*\n!*/\n!*.py\n",
        "# comment\n\nmine/**/loader.py\n",
        "mine/*\n!mine/data/\n",
        "\\#file\n[ms]*/\n",
        "**/data/**\n",
        "notes.txt\nscratch/*\n!scratch/notes.txt\n",
    ],
)
def test_ignore_rules_have_the_meaning_git_gives_them(project: Path, rules: str) -> None:
    (project / ".gitignore").write_text(rules)
    without_git = project_files(project)
    git(project, "init", "-q")
    git(project, "config", "core.excludesFile", os.devnull)
    assert [name for name in project_files(project) if "__pycache__" not in name] == without_git


def test_rayignore_can_list_what_to_keep(project: Path) -> None:
    (project / ".rayignore").write_text("/*\n!/experiments/\n")
    assert project_files(project) == ["experiments/a.yaml"]


def test_a_file_deleted_but_still_known_to_git_is_left_out(project: Path) -> None:
    git(project, "init", "-q")
    git(project, "add", "experiments")
    (project / "experiments/a.yaml").unlink()
    assert "experiments/a.yaml" not in project_files(project)


def test_a_project_inside_a_folder_that_git_ignores_is_packed(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("*\n")
    write(tmp_path, "inner/experiments/a.yaml")
    assert project_files(tmp_path / "inner") == ["experiments/a.yaml"]


def test_an_explicitly_named_file_is_packed_even_if_ignored(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("out") / "p.zip"
    assert pack(project, target, also=["scratch/notes.txt"]) == 4
    with ZipFile(target) as archive:
        assert archive.read("scratch/notes.txt") == b"x"
        assert "mine/data/loader.py" in archive.namelist()


def test_the_same_files_give_the_same_bytes_at_any_time(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("out")
    pack(project, out / "a.zip")
    os.utime(project / "experiments/a.yaml", (1, 1))
    pack(project, out / "b.zip")
    assert (out / "a.zip").read_bytes() == (out / "b.zip").read_bytes()


def test_a_package_over_the_limit_is_rejected_with_its_three_largest_items(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LIMIT_BYTES", 2**20)
    write(project, "big.bin", content=os.urandom(2**20))
    write(project, "mine/weights/1.pt", "mine/weights/2.pt", content=os.urandom(700_000))
    write(project, "mine/middle.bin", content=os.urandom(300_000))
    write(project, "mine/small.bin", content=os.urandom(20_000))
    with pytest.raises(UserError, match=r"1 MiB") as caught:
        pack(project, tmp_path_factory.mktemp("out") / "p.zip")
    message = str(caught.value)
    assert "mine/weights/ (1.3 MiB), big.bin (1.0 MiB), mine/middle.bin (0.3 MiB)" in message
    assert "small.bin" not in message
    assert ".rayignore" in message


def test_the_limit_applies_to_the_compressed_size(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LIMIT_BYTES", 2**20)
    write(project, "zeros.bin", content=bytes(5 * 2**20))
    assert pack(project, tmp_path_factory.mktemp("out") / "p.zip") == 4


def test_secrets_are_left_out_and_named_and_untracked_files_are_named(project: Path) -> None:
    secrets = ["deploy/.env.production", "id_rsa", "server.pem", ".aws/credentials", "kaggle.json"]
    subprocess.run(["git", "-C", project, "init", "-q"], check=True)
    for name in [*secrets, ".env.example"]:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("x")
    subprocess.run(["git", "-C", project, "add", "-f", "server.pem"], check=True)  # tracked, and left out all the same
    names = project_files(project)
    assert not {*secrets} & {*names}
    assert ".env.example" in names
    left_out, untracked = unusual_files(project)
    assert left_out.startswith("left out   5 files that may hold secrets: ")
    assert ".env.example" in untracked
    assert not any(name in untracked.split(": ")[1].split(", ") for name in secrets)


def test_files_are_private_on_the_nodes_and_scripts_stay_executable(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (project / "private.txt").write_text("x")
    (project / "private.txt").chmod(0o644)
    (project / "script.sh").write_text("x")
    (project / "script.sh").chmod(0o755)
    target = tmp_path_factory.mktemp("out") / "p.zip"
    pack(project, target)
    with ZipFile(target) as archive:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    assert (modes["private.txt"], modes["script.sh"]) == (0o600, 0o700)
