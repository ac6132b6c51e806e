"""`compare`, `leaderboard` and `runs` on runs of the tiny experiment, on a disk and on a remote storage."""

import pandas as pd
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import raybench
from raybench.commands.compare import compare, leaderboard, list_runs
from raybench.errors import UserError
from raybench.storage.runs import find_run
from raybench.storage.store import Store

NEEDED = ("manifest.json", *(f"tables/{name}.parquet" for name in ("metrics", "leaderboard", "models", "splits")))


@pytest.fixture(scope="module")
def store(tables_folder, tiny, tmp_path_factory):
    """Return a storage with copies of two runs that differ in the margin, and of one with another schema."""
    root = tables_folder.parents[2]
    store, copy = Store(str(root)), Store(str(tmp_path_factory.mktemp("several")))
    for name, margin in (("tiny", 0.1), ("strict", 0.05)):
        run = raybench.run(tiny(name=name), storage=root, overrides={"evaluate.margin": margin}, quiet=True)
        for key in NEEDED:
            copy.write_bytes(f"{run.name}/{key}", store.read_bytes(f"{run.name}/{key}"))
    manifest = copy.read_json(f"{run.name}/manifest.json")
    copy.write_json("old/00000001/manifest.json", {**manifest, "schema_version": "2"})
    copy.write_bytes("old/00000001/tables/metrics.parquet", b"")
    copy.write_json("early/00000002/manifest.json", manifest)
    return copy


@pytest.fixture
def console():
    return Console(width=80, record=True, markup=False, emoji=False, highlight=False)


def test_runs_are_listed_with_their_state(store, console):
    console.print(list_runs(store.uri))
    lines = {line.split()[0]: line for line in console.export_text().splitlines() if "/0" in line or "finished" in line}
    assert {name.split("/")[0] for name in lines} == {"tiny", "strict", "old", "early"}
    assert "finished" in lines[find_run(store, "tiny")]
    assert "unfinished" in lines["early/00000002"]


def test_runs_of_two_margins_are_one_scenario_and_two_protocols(store, console, tmp_path):
    out = tmp_path / "new" / "page.html"
    compare(["tiny", "strict"], store.uri, str(out), console)
    text = " ".join(console.export_text().split())
    assert "Not comparable with protocol 1, differs in: evaluate.margin" in text
    assert "Scenario 2" not in text
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in out.parent.iterdir()) == ["page.html", "page.parquet"]
    table = pd.read_parquet(out.parent / "page.parquet")
    assert table.groupby("run").protocol.unique().str[0].tolist() in ([1, 2], [2, 1])
    expected = store.read_table(f"{find_run(store, 'tiny')}/tables/leaderboard.parquet").to_pandas()
    rows = table[table.run == find_run(store, "tiny")]
    assert rows.gap.to_numpy() == pytest.approx(expected.gap.to_numpy(), nan_ok=True)
    assert rows.method.tolist() == expected.method.tolist()


def test_a_manifest_without_settings_is_read_from_its_experiment(store, console, tmp_path):
    other = Store(str(tmp_path / "storage"))
    for name in ("tiny", "strict"):
        run = find_run(store, name)
        for key in NEEDED[1:]:
            other.write_bytes(f"{run}/{key}", store.read_bytes(f"{run}/{key}"))
        manifest = store.read_json(f"{run}/manifest.json")
        kept = {key: value for key, value in manifest.items() if key != "settings"}
        other.write_json(f"{run}/manifest.json", kept if name == "tiny" else {**kept, "settings": manifest["settings"]})
    leaderboard(other.uri, str(tmp_path / "page.html"), console)
    assert "differs in: evaluate.margin" in " ".join(console.export_text().split())


def test_a_leaderboard_of_a_remote_storage_names_the_runs_it_leaves_out(store, console, make_remote):
    remote = make_remote("memory")
    runs = [find_run(store, "tiny"), "old/00000001"]
    for key in [f"{runs[0]}/{key}" for key in NEEDED] + [f"{runs[1]}/{key}" for key in NEEDED[:2]]:
        remote.write_bytes(key, store.read_bytes(key))
    leaderboard(remote.uri, f"{remote.uri}/pages/all.html", console)
    assert "not shown: old/00000001: its tables have schema 2" in " ".join(console.export_text().split())
    assert remote.read_bytes("pages/all.html").startswith(b"<!DOCTYPE html>")
    with remote.filesystem.open_input_file(remote.path("pages/all.parquet")) as stream:
        assert set(pq.read_table(stream)["run"].to_pylist()) == {runs[0]}


def test_what_cannot_be_compared_is_refused_in_words(store, console, tmp_path):
    out = str(tmp_path / "page.html")
    with pytest.raises(UserError, match=r"compare: 1 run \(needed: 2 or more\)"):
        compare(["tiny", find_run(store, "tiny")], store.uri, out, console)
    with pytest.raises(UserError, match="did you mean 'tiny'"):
        compare(["tiny", "tyni"], store.uri, out, console)
    with pytest.raises(UserError, match=r"must end in \.html"):
        compare(["tiny", "strict"], store.uri, "page.txt", console)
    with pytest.raises(UserError, match="has no finished run"):
        leaderboard(str(tmp_path), out, console)
    with pytest.raises(UserError, match="has no run"):
        list_runs(str(tmp_path))
