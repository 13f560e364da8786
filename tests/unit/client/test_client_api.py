"""The client against an API on loopback: submit, wait, results, downloads and every kind of error."""

import gc
import json
import re
import time
import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import cftime
import msgspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from starlette.responses import HTMLResponse, Response

import wildcast
from wildcast import _api
from wildcast._asking import sent
from wildcast._encode import to_json
from wildcast._flows import Request
from wildcast._retry import Retry
from wildcast.contract.wire import StatusAnswer

TOKEN = "canary-token"


def test_workflows_and_schema_are_listed(server):
    """What can be submitted, and with which parameters, is the server's answer."""
    assert server.client.workflows() == {"wf": "makes data"}
    assert server.client.schema("wf") == {"type": "object"}


def test_the_token_goes_with_every_call(server):
    """Each request to the API carries the token, and nothing shows it."""
    server.client.workflows()
    assert server.tokens == [f"Bearer {TOKEN}"]
    assert TOKEN not in repr(server.client) + repr(vars(server.client))


def test_url_and_token_come_from_the_environment(server, monkeypatch):
    """Without arguments the client takes both from its environment."""
    monkeypatch.setenv("WILDCAST_URL", f"{server.url}/")
    monkeypatch.setenv("WILDCAST_TOKEN", "other")
    with wildcast.Client() as client:
        client.workflows()
    assert server.tokens == ["Bearer other"]


def test_the_default_address_is_the_local_server(monkeypatch, tmp_path):
    """Without any hint the client talks to this machine."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("WILDCAST_URL", raising=False)
    assert "http://127.0.0.1:8000" in repr(wildcast.Client())


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://h",
        "http://",
        "http://u:canary@h",
        "http://h?x=1",
        "http://h:x",
        "http://a\nb",
        "http://a b",
        "http://a..b",
    ],
)
def test_an_address_that_is_none_is_refused(url):
    """A wrong address is refused at once, without repeating a password in it."""
    with pytest.raises(wildcast.InvalidUrlError) as caught:
        wildcast.Client(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("token", ["a\r\nX: y", "ü", "a b"])
def test_a_token_that_no_header_can_carry_is_refused(token):
    """A mangled token is refused without being shown."""
    with pytest.raises(ValueError, match="token") as caught:
        wildcast.Client("http://127.0.0.1", token)
    assert token not in str(caught.value)


def test_submitting_sends_parameters_given_either_way(server):
    """A dictionary and names are one set of parameters."""
    execution = server.client.submit("wf", {"a": 1}, start=datetime(2026, 1, 1, tzinfo=UTC), step=timedelta(hours=6))
    assert execution.id == server.id
    assert server.types == ["application/json"]
    assert server.submitted == [{"parameters": {"a": 1, "start": "2026-01-01T00:00:00+00:00", "step": "PT21600S"}}]


def test_a_parameter_given_twice_is_refused(server):
    """A name in both places is an error, not a choice."""
    with pytest.raises(TypeError, match="a is given twice"):
        server.client.submit("wf", {"a": 1}, a=2)


VALUES = [
    (None, None),
    (True, True),
    (np.float32(0.5), 0.5),
    (np.int64(3), 3),
    (np.array([False])[0], False),
    (np.longdouble(1.5), 1.5),
    (np.ma.masked_array([1, 2], mask=False), [1, 2]),
    (np.datetime64("9999-12-31T23:59:59.999999"), "9999-12-31T23:59:59.999999"),
    (np.datetime64("2026-03"), "2026-03-01T00:00:00"),
    (np.timedelta64(2, "W"), "P14D"),
    (pd.Timestamp("2026-01-01T06", tz="UTC"), "2026-01-01T06:00:00+00:00"),
    (pd.Timedelta("6h"), "PT21600S"),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.datetime64("2026-01-01T06", "ns"), "2026-01-01T06:00:00"),
    (np.timedelta64(90, "m"), "PT5400S"),
    (np.array(["2026-01-01"], "M8[ns]"), ["2026-01-01T00:00:00"]),
    (xr.DataArray([1.0, 2.0]), [1.0, 2.0]),
    (date(2026, 1, 2), "2026-01-02"),
    (timedelta(days=-1, hours=1), "-PT82800S"),
    (cftime.Datetime360Day(2026, 2, 30), "2026-02-30T00:00:00"),
    (Path("a/b.nc"), "a/b.nc"),
    ((1, {"x": {2}}), [1, {"x": [2]}]),
    (wildcast.ExecutionStatus.FAILED, "failed"),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda value: type(value).__name__)
def test_values_of_science_become_json(value, expected):
    """Times, differences, numpy's and cftime's values have the form that the API reads."""
    assert to_json(value) == expected
    assert type(to_json(value)) is type(expected)


@pytest.mark.parametrize(
    "value", [float("nan"), np.inf, np.array([1, np.nan]), np.datetime64("NaT", "s"), [float("-inf")]]
)
def test_values_that_json_cannot_hold_are_refused(value):
    """A number that is none would silently become null: it is an error that names its place."""
    with pytest.raises(ValueError, match=r"parameters\.a"):
        to_json({"a": value})


CHANGED_OTHERWISE = [
    pd.NaT,
    [pd.Timestamp("2026-01-01T00:00:00.000000001")],
    pd.Timestamp(np.datetime64("20000-01-01", "s")),
    pd.Timedelta(1500, "ns"),
    pd.Timedelta(np.timedelta64(10**15, "s")),
    np.ma.masked_array([1, 2], mask=[False, True]),
    np.datetime64("20000-01-01"),
    np.datetime64("-0500-01-01"),
    np.datetime64("2026-01-01T00:00:00.123456789"),
    np.array(["2026-01-01", "2026-01-01T00:00:00.000000001"], "M8[ns]"),
    np.timedelta64(10**9, "D"),
    np.timedelta64(1, "M"),
    np.timedelta64(5),
    np.longdouble(1) / 3,
    np.longdouble("nan"),
]


@pytest.mark.parametrize("value", CHANGED_OTHERWISE, ids=repr)
def test_values_that_would_arrive_as_others_are_refused(value):
    """Whatever cannot be sent exactly is an error that names the parameter, and never another value."""
    with pytest.raises(ValueError, match=r"^parameters\.a(\[0\])? "):
        to_json({"a": value})


@pytest.mark.parametrize("value", [b"bytes", object(), {1: 2}, 1j, np.array([1j]), np.clongdouble(1)])
def test_types_that_json_does_not_have_are_refused(value):
    """A type without a form in JSON is an error that names its place."""
    with pytest.raises(TypeError, match=r"parameters\.a"):
        to_json({"a": value})


ERRORS = [
    (401, wildcast.NotAuthorizedError),
    (403, wildcast.NotAuthorizedError),
    (404, wildcast.UnknownWorkflowError),
    (409, wildcast.IdempotencyConflictError),
    (422, wildcast.InvalidParametersError),
    (429, wildcast.ServerBusyError),
    (500, wildcast.ServerUnavailableError),
    (503, wildcast.ServerUnavailableError),
]


@pytest.mark.parametrize(("code", "kind"), ERRORS)
def test_an_error_has_its_class_and_the_servers_words(server, code, kind):
    """Each kind of error is one class, with status, sentence and details; a submission is not repeated."""
    server.fail(code, {"error": "It went wrong.", "details": [{"field": "a"}]}, retry_after="7")
    with pytest.raises(wildcast.ApiError, match="It went wrong") as caught:
        server.client.submit("wf")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.details) == (code, [{"field": "a"}])
    assert len(server.paths) == 1
    if isinstance(caught.value, wildcast.ServerBusyError):
        assert caught.value.retry_after == 7.0


@pytest.mark.parametrize("wrap", [lambda fields: fields, lambda fields: {"fields": fields}])
def test_invalid_parameters_name_their_fields(server, wrap):
    """The fields that the workflow does not accept are listed."""
    fields = [{"field": "steps", "message": "must be positive"}]
    server.fail(422, {"error": "Invalid.", "details": wrap(fields)})
    with pytest.raises(wildcast.InvalidParametersError) as caught:
        server.client.submit("wf")
    assert caught.value.fields == fields


def test_fastapis_own_errors_are_understood(server):
    """A body with `detail` alone gives its sentence."""
    server.fail(404, {"detail": "Not Found"})
    with pytest.raises(wildcast.UnknownWorkflowError, match="Not Found"):
        server.client.schema("nothing")


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_reading_calls_are_repeated(server, code):
    """A GET that fails for a moment is asked again."""
    server.fail(code, times=2)
    assert server.client.workflows() == {"wf": "makes data"}
    assert len(server.paths) == 3


def test_an_internal_error_is_not_repeated(server):
    """A 500 is the server's bug, and repeating it helps nobody."""
    server.fail(500)
    with pytest.raises(wildcast.ServerUnavailableError):
        server.client.workflows()
    assert len(server.paths) == 1


@pytest.mark.parametrize("code", [200, 403, 404])
def test_a_proxys_page_is_named(server, code):
    """HTML where JSON belongs is an error that says so."""
    server.override = lambda _: HTMLResponse("<html>log in</html>", code)
    with pytest.raises(wildcast.UnexpectedAnswerError, match="text/html"):
        server.client.workflows()


def test_a_redirect_is_named(server):
    """A redirected API call is not followed with a token."""
    server.override = lambda _: Response(status_code=302, headers={"Location": "http://127.0.0.1:9/"})
    with pytest.raises(wildcast.UnexpectedAnswerError, match="redirect"):
        server.client.workflows()


def test_a_server_that_is_not_there_is_named():
    """No connection is an error that says where nobody listens."""
    api = _api.Api("http://127.0.0.1:9", retry=Retry(attempts=2, base=0.001))
    with pytest.raises(wildcast.ServerUnavailableError, match=re.escape("http://127.0.0.1:9")):
        api.workflows()


def test_what_cannot_be_sent_is_not_sent_again(server):
    """No later attempt could be another one, and the server is not to blame."""
    api = _api.Api(server.url, retry=Retry(attempts=2, base=10.0))
    began = time.monotonic()
    with pytest.raises(wildcast.ApiError, match="cannot be sent") as caught:
        api.run(sent(api, Request("GET", "/health", headers={"X-Name": "a\nb"}), is_repeatable=True))
    assert not isinstance(caught.value, wildcast.ServerUnavailableError)
    assert time.monotonic() - began < 4
    assert server.paths == []


@pytest.mark.parametrize(
    ("given", "variable", "named"),
    [
        (None, "http://127.0.0.1:9", True),
        ("http://127.0.0.1:9", "http://127.0.0.1:1", False),
        ("http://127.0.0.1:9", None, False),
    ],
)
def test_the_variable_is_named_where_the_address_came_from_it(monkeypatch, given, variable, named):
    """Nobody is sent to a variable that has nothing to do with the address."""
    monkeypatch.delenv("WILDCAST_URL", raising=False)
    if variable is not None:
        monkeypatch.setenv("WILDCAST_URL", variable)
    api = _api.Api(given, retry=Retry(attempts=1))
    with pytest.raises(
        wildcast.ServerUnavailableError, match=r"check the address.* and that the server runs"
    ) as caught:
        api.workflows()
    assert ("WILDCAST_URL" in str(caught.value)) is named


def test_a_signature_that_is_refused_advises_no_list_of_executions(server):
    """It may be the file that is not there."""
    server.fail(404, {"error": "the result has no file 'a'"})
    with pytest.raises(wildcast.ApiError) as caught:
        server.client._api.sign("wf", server.id, path="a")
    assert str(caught.value) == "the result has no file 'a'"


def test_an_unknown_execution_is_named(server):
    """An id that the server does not know is an error when it is asked for."""
    with pytest.raises(wildcast.UnknownExecutionError):
        server.client.get("wf", "exec_1_00000000")


def test_names_cannot_leave_their_place_in_the_address(server):
    """A workflow's name with slashes and dots is one segment of the path."""
    seen = []
    server.override = lambda request: seen.append(request.scope["raw_path"])
    with pytest.raises(wildcast.UnknownExecutionError):
        server.client.get("../../health?x", "a/b")
    assert seen == [b"/v1/infer/..%2F..%2Fhealth%3Fx/a%2Fb/status"]


def test_a_client_that_is_forgotten_leaves_nothing_open(server):
    """A client that nobody closes is closed when it is collected, without a warning."""
    client = wildcast.Client(server.url, TOKEN)
    client.workflows()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client
        gc.collect()
    assert caught == []


def test_the_fake_speaks_the_contract(server):
    """The answers of this fake are those of the wire models."""
    msgspec.json.decode(json.dumps(server.status()), type=StatusAnswer)
