"""Runs by name and fingerprint: the newest of a name, a prefix, and what is said when there is none."""

import pytest

from raybench.errors import UserError
from raybench.storage.runs import TABLES, evaluated_runs, find_run, location, mark_newest
from raybench.storage.store import Store


@pytest.fixture(params=["disk", "s3"])
def store(request, tmp_path):
    if request.param == "disk":
        return Store(str(tmp_path))
    return Store(request.getfixturevalue("s3_uri").format(folder=tmp_path.name))


def put(store, run, started, *, tables=True):
    store.write_json(f"{run}/manifest.json", {"started": f"{started}T12:00:00+0000"})
    if tables:
        store.write_bytes(f"{run}/{TABLES}", b"")


@pytest.fixture
def filled(store):
    put(store, "faces/aaaa1111", "2026-01-03")
    put(store, "faces/aabb2222", "2026-01-02")
    put(store, "faces/cccc3333", "2026-01-04", tables=False)
    put(store, "digits/dddd4444", "2026-01-01")
    put(store, "started/eeee5555", "2026-01-05", tables=False)
    store.write_bytes(f"artifacts/ffff6666/{TABLES}", b"")
    return store


def test_runs_are_folders_of_names_that_have_tables(filled):
    assert evaluated_runs(filled) == ["digits/dddd4444", "faces/aaaa1111", "faces/aabb2222"]
    assert evaluated_runs(filled, "faces") == ["faces/aaaa1111", "faces/aabb2222"]


def test_a_name_is_the_run_that_was_marked_last_else_the_one_started_last(filled):
    assert find_run(filled, "faces") == "faces/aaaa1111"
    mark_newest(filled, "faces/aabb2222")
    assert find_run(filled, "faces") == find_run(filled, "faces/") == "faces/aabb2222"
    mark_newest(filled, "faces/cccc3333")  # its tables are gone
    assert find_run(filled, "faces") == "faces/aaaa1111"
    filled.write_bytes("faces/newest.json", b"damaged")
    assert find_run(filled, "faces") == "faces/aaaa1111"


def test_the_first_digits_of_a_fingerprint_are_enough_if_they_name_one_run(filled):
    assert find_run(filled, "faces/aab") == "faces/aabb2222"
    assert find_run(filled, "faces/aaaa1111") == find_run(filled, "faces/aaaa1111/") == "faces/aaaa1111"
    with pytest.raises(UserError, match=r"several runs begin like this \(newest first: faces/aaaa1111 \(2026-01-03 "):
        find_run(filled, "faces/aa")
    with pytest.raises(UserError, match=r"no run begins like this \(newest first: .*aaaa1111.*, faces/aabb2222 \(2026"):
        find_run(filled, "faces/zz")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("face", r"unknown run on .*'face'; did you mean 'faces'\? \(allowed: digits, faces\)"),
        ("started", "'started' on .* has no tables yet"),
        ("artifacts", r"unknown run .*allowed: digits, faces"),
        ("../faces", "unknown run"),
        ("faces/../digits", "unknown run"),
        ("", "unknown run"),
    ],
)
def test_an_unknown_run_is_named_with_the_nearest(filled, request_, message):
    with pytest.raises(UserError, match=message):
        find_run(filled, request_)


def test_a_marker_cannot_lead_out_of_its_name(filled):
    filled.write_json("faces/newest.json", {"run": "digits/dddd4444"})
    assert find_run(filled, "faces") == "faces/aaaa1111"


def test_a_location_is_a_full_path_or_a_uri_without_its_password(tmp_path):
    assert location(Store(str(tmp_path)), "a/b") == f"{tmp_path}/a/b"
    store = Store("s3://key:secret@bucket/runs?region=eu-west-1")
    assert location(store, "a/b") == "s3://***@bucket/runs/a/b?region=eu-west-1"
