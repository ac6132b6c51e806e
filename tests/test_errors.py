"""User errors: the wrong value, the allowed ones, the nearest name, the key."""

import pytest

from raybench.errors import UserError, attach_key, nearest, printable, unknown


def test_the_error_of_an_unknown_name_gives_the_nearest_and_all_allowed_names():
    error = unknown("method", "scrubb", ["finetune", "scrub"], hint="; see the list")
    assert str(error) == "unknown method 'scrubb'; did you mean 'scrub'? (allowed: finetune, scrub); see the list"


def test_no_name_is_suggested_if_none_is_close():
    assert nearest("zzz", ["finetune", "scrub"]) is None
    assert "did you mean" not in str(unknown("method", "zzz", ["finetune", "scrub"]))


def test_a_long_list_is_cut_to_the_nearest_names_and_counts_the_rest():
    message = str(unknown("model", "net7", [f"net{i}" for i in range(100)] + ["other"]))
    assert "'net7'" in message
    assert "and 96 more" in message
    assert len(message) < 120


def test_an_empty_list_of_names_is_shown_as_none():
    assert "(allowed: none)" in str(unknown("option", "x", []))


def test_an_error_keeps_the_innermost_key():
    with pytest.raises(UserError) as caught, attach_key("methods"), attach_key("methods", "scrub", "lr"):
        raise UserError("too large")
    assert caught.value.key == ("methods", "scrub", "lr")


def test_other_errors_pass_unchanged():
    with pytest.raises(ZeroDivisionError), attach_key("methods"):
        raise ZeroDivisionError


def test_a_password_in_a_uri_is_never_shown():
    text = printable("storage 's3://key:secret@bucket/x?region=eu&secret_key=abc' failed, see http://host:8265/jobs")
    assert text == "storage 's3://***@bucket/x?region=eu&secret_key=***' failed, see http://host:8265/jobs"


@pytest.mark.parametrize("uri", ["s3://key:se/cret@bucket/x", "s3://key:secret@bucket", "abfs://a:secret==@b/c"])
def test_a_password_is_masked_even_if_its_slashes_are_not_escaped(uri):
    shown = printable(f"storage '{uri}' failed at a/b@c")
    assert "cret" not in shown
    assert shown.endswith("failed at a/b@c")
    assert printable("see http://host:8265/jobs and mail a@b") == "see http://host:8265/jobs and mail a@b"
