"""Say that a cluster refuses the token of this user, which Ray reports after 20 seconds, or not at all.

Ray sends a token if RAY_AUTH_MODE is `token`, or for the address `auto` if there is one. It takes the first of
RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH and ~/.ray/auth_token.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from raybench.errors import UserError

FILE = "~/.ray/auth_token"
REFUSED = ("InvalidAuthToken", "AuthenticationError")  # in the errors of Ray's connection, which has no class for it
ANSWER_SECONDS = 5.0
CALL = "/ray.rpc.NodeInfoGcsService/CheckAlive"  # which every control process (GCS) answers at once


def refused(address: str) -> UserError:
    """Return the error for a cluster that requires another token than the one that this process sends, if any."""
    token, source = read_token()
    if not _sends_token():
        problem = "none is sent, since RAY_AUTH_MODE is not 'token'"
    elif token:
        problem = f"the one in {source} is not its token"
    else:
        problem = f"there is none here: neither in RAY_AUTH_TOKEN nor in {source}"
    return UserError(
        f"Ray at {address} requires a valid token, and {problem}. Run `ray get-auth-token` on the head node to print "
        f"it, then export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN=<token> here (or write it to {FILE})"
    )


def read_token() -> tuple[str, str]:
    """Return the token that Ray would send, empty if there is none, and the place that it is read from."""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token, "RAY_AUTH_TOKEN"
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or FILE
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip(), path
    except (OSError, ValueError, RuntimeError):
        return "", path


def check_token(address: str) -> None:
    """Raise UserError if Ray would fail to connect to `host:port` for want of a valid token.

    Without RAY_AUTH_MODE it depends on the version of Ray whether a token is sent, and in Kubernetes Ray may read one
    of its own, so these cases are left to Ray.
    """
    certain = ("RAY_AUTH_MODE" in os.environ or not read_token()[0]) and "RAY_ENABLE_K8S_TOKEN_AUTH" not in os.environ
    if certain and _refuses(address):
        raise refused(address)


def is_refusal(address: str, errors: Iterable[BaseException]) -> bool:
    """Return whether Ray, which raised the errors while it connected, failed because the cluster refused the token."""
    return any(word in f"{type(error).__name__} {error}" for error in errors for word in REFUSED) or _refuses(address)


def _refuses(address: str) -> bool:
    """Return whether the cluster refuses a call with the token that is sent.

    Any other answer, or none, is False: a cluster that requires TLS, for one, understands nothing of the call.
    """
    import grpc

    if ":" not in address or "://" in address:  # "auto", which Ray resolves
        return False
    token = read_token()[0] if _sends_token() else ""
    headers = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(CALL)(b"", timeout=ANSWER_SECONDS, metadata=headers)
        except grpc.RpcError as error:
            return bool(error.code() is grpc.StatusCode.UNAUTHENTICATED)
    return False


def _sends_token() -> bool:
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
