"""The body of errors."""

import json

from wildcast_server.http.problems import problem


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
