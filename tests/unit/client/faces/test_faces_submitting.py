"""What both faces send as a submission, what they refuse to send, and what they say when no answer arrives."""

import json
from datetime import timedelta

import pytest
from starlette.responses import JSONResponse, Response

import wildcast


def test_a_submission_holds_what_was_given(api, client):
    """Labels, retention and webhook lie beside the parameters, also of the same names."""
    execution = client.submit(
        "wf",
        {"n": 2},
        labels={"project": "storms", "member": 3},
        retention=timedelta(days=1),
        webhook="https://example.org/hook",
    )
    found = api.records.get(execution.id)
    assert found.parameters == {"n": 2}
    assert found.labels == {"project": "storms", "member": "3"}
    assert found.retention_seconds == 86_400
    assert found.webhook == "https://example.org/hook"
    assert "idempotency-key" not in api.seen[0].headers


def test_a_parameter_may_have_the_name_of_an_option(api, client):
    """Given in `parameters` it is the workflow's."""
    sent = []

    def answer(request):
        async def keep(scope, receive, send):
            sent.append(json.loads(await request.body()))
            await JSONResponse({"error": "enough"}, 422)(scope, receive, send)

        return keep

    api.meddle = answer
    with pytest.raises(wildcast.InvalidParametersError, match="enough"):
        client.submit("wf", {"labels": [1], "retention": 2, "webhook": 3, "idempotency_key": 4}, labels={"a": "b"})
    assert sent == [
        {
            "parameters": {"labels": [1], "retention": 2, "webhook": 3, "idempotency_key": 4},
            "labels": {"a": "b"},
        }
    ]


@pytest.mark.parametrize("extras", [{"labels": {"a b": "c"}}, {"webhook": "ftp://example.org"}], ids=str)
def test_what_no_schema_tells_of_is_refused_without_naming_it(client, extras):
    """The advice of an error is about what is wrong, or left out."""
    with pytest.raises(wildcast.InvalidParametersError) as caught:
        client.submit("wf", **extras)
    assert "schema" not in str(caught.value)


@pytest.mark.parametrize("parameters", [5, "n=5", [("n", 5)]], ids=repr)
def test_parameters_without_names_are_refused(api, client, parameters):
    """In a sentence that says how they are given."""
    with pytest.raises(TypeError, match=r"^Parameters are given by name"):
        client.submit("wf", parameters)
    assert api.seen == []


@pytest.mark.parametrize("labels", ["a", ["a=b"]], ids=repr)
def test_labels_that_are_none_are_refused(api, client, labels):
    """Of a submission and of a list alike."""
    for use in (lambda: client.submit("wf", labels=labels), lambda: list(client.executions(labels=labels))):
        with pytest.raises(TypeError, match=r"^labels are .* dictionary"):
            use()
    assert api.seen == []


@pytest.mark.parametrize("retention", [0, -1, float("nan"), timedelta(0), "7d", [7]])
def test_a_retention_that_is_none_is_refused(client, retention):
    """Before anything is sent."""
    with pytest.raises(ValueError, match=r"^retention is .* seconds, .*a timedelta"):
        client.submit("wf", retention=retention)


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_with_a_key_a_submission_is_repeated(api, client, code):
    """And it is one execution; without one it is sent once."""
    left = [2]

    def busy(_request):
        left[0] -= 1
        return JSONResponse({"error": "busy"}, code, {"Retry-After": "0"}) if left[0] >= 0 else None

    api.meddle = busy
    first = client.submit("wf", idempotency_key="forecast-17")
    assert len(api.seen) == 3
    assert client.submit("wf", idempotency_key="forecast-17").id == first.id
    left[0] = 1
    with pytest.raises(wildcast.ApiError, match="busy"):
        client.submit("wf")
    assert [each.id for each in client.executions()] == [first.id]


def test_a_key_that_was_used_for_something_else_is_a_conflict(client):
    """Nobody gets another one's execution for his own."""
    client.submit("wf", idempotency_key="k", n=1)
    with pytest.raises(wildcast.IdempotencyConflictError, match="a key of its own") as caught:
        client.submit("wf", idempotency_key="k", n=2)
    assert caught.value.status == 409


@pytest.mark.parametrize("key", ["", "größe", "a\nb", "a b", "k" * 256, 5])
def test_a_key_that_is_none_is_refused(api, client, key):
    """Before anything is sent, and in one sentence."""
    with pytest.raises(ValueError, match=r"^idempotency_key .* UUID"):
        client.submit("wf", idempotency_key=key)
    assert api.seen == []


@pytest.mark.parametrize("idempotency_key", [None, "k"])
def test_an_answer_that_cannot_be_read_is_an_error_of_the_tree(api, client, idempotency_key):
    """Asked for again where that may be, and then said in a sentence; a submission may have arrived."""
    api.meddle = lambda _: Response(b"junk", headers={"Content-Encoding": "gzip"}, media_type="application/json")
    with pytest.raises(wildcast.UnexpectedAnswerError, match="cannot be decompressed"):
        client.workflows()
    assert len(api.seen) == 3
    with pytest.raises(wildcast.UnexpectedAnswerError) as caught:
        client.submit("wf", idempotency_key=idempotency_key)
    assert ("may have been accepted" in str(caught.value)) is (idempotency_key is None)
    assert len(api.seen) == (4 if idempotency_key is None else 6)


def test_an_answer_that_was_lost_may_have_been_a_submission(api, client):
    """Without a key nobody knows, and the sentence says so; a server that was never reached has nothing."""
    for code, is_unknown in ((500, True), (502, True), (503, False), (504, True)):
        api.meddle = lambda _, code=code: JSONResponse({"error": "no answer"}, code)
        with pytest.raises(wildcast.ServerUnavailableError) as caught:
            client.submit("wf")
        assert ("may have been accepted" in str(caught.value)) is is_unknown
    api.stop()
    with pytest.raises(wildcast.ServerUnavailableError) as caught:
        client.submit("wf")
    assert "may have been accepted" not in str(caught.value)
