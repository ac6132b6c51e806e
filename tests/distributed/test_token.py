"""A cluster that requires another token says so at once, and how to get it; Ray says that it cannot connect."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from heads import free_port, start_head

from raybench.distributed.cluster import Cluster
from raybench.distributed.failures import chain
from raybench.distributed.token import check_token, is_refusal, read_token
from raybench.errors import UserError

VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
CASES = {
    "no mode and no token": ({}, "none is sent, since RAY_AUTH_MODE is not 'token'"),
    "disabled": (
        {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "a" * 32},
        "none is sent, since RAY_AUTH_MODE is not 'token'",
    ),
    "no token": (
        {"RAY_AUTH_MODE": "token"},
        "there is none here: neither in RAY_AUTH_TOKEN nor in ~/.ray/auth_token",
    ),
    "another token": (
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "b" * 32},
        "the one in RAY_AUTH_TOKEN is not its token",
    ),
}


@pytest.fixture(autouse=True)
def _without_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start a cluster with a token of its own; yield its address."""
    with start_head(0, "--include-dashboard=false", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="a" * 32) as head:
        yield head.address


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_run_on_a_cluster_with_another_token_says_so_at_once(
    case: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, problem = CASES[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        Cluster(address).start()
    assert str(caught.value) == (
        f"Ray at {address} requires a valid token, and {problem}. Run `ray get-auth-token` on the head node to print "
        "it, then export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN=<token> here (or write it to ~/.ray/auth_token)"
    )
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 32)
    check_token(address)


def test_the_token_is_read_where_ray_reads_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert read_token() == ("", "~/.ray/auth_token")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of the user\n")
    assert read_token() == ("of the user", "~/.ray/auth_token")
    (tmp_path / "elsewhere").write_text("of a file")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "elsewhere"))
    assert read_token() == ("of a file", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of a variable")
    assert read_token() == ("of a variable", "RAY_AUTH_TOKEN")


def test_what_is_no_refusal_is_left_to_ray() -> None:
    for address in ("auto", "local", f"127.0.0.1:{free_port()}", "https://127.0.0.1:1"):
        check_token(address)
    lost = ConnectionError("Failed to connect to Ray cluster at 127.0.0.1:1")
    assert not is_refusal("auto", chain(lost))
    lost.__cause__ = RuntimeError("Failed to connect to GCS: RPC error: InvalidAuthToken: Authentication token is ...")
    assert is_refusal("auto", chain(lost))
