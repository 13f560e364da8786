"""The body of errors."""

import json

import pytest

from wildcast_server.http.problems import another_version, problem


def test_an_error_says_it_in_both_forms() -> None:
    """``detail`` repeats the sentence for FastAPI's readers."""
    answer = problem(422, "The parameters are invalid.", [{"field": "a"}], {"Retry-After": "5"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["retry-after"] == "5"
    assert json.loads(bytes(answer.body)) == {
        "error": "The parameters are invalid.",
        "details": [{"field": "a"}],
        "detail": "The parameters are invalid.",
    }


def test_particulars_are_null_where_there_are_none() -> None:
    """Readers find the member always."""
    assert json.loads(bytes(problem(404, "Gone.").body))["details"] is None


@pytest.mark.parametrize("etag", ['"a"', None])
def test_another_version_is_not_kept(etag: str | None) -> None:
    """412, with the ETag that there is, if there is one; no cache may repeat it."""
    answer = another_version("file", etag)
    assert answer.status_code == 412
    assert (answer.headers.get("etag"), answer.headers["cache-control"]) == (etag, "no-store")
    assert "the file is another version" in json.loads(bytes(answer.body))["error"]
