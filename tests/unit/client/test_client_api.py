"""The client against an API on loopback: submit, wait, results, downloads and every kind of error."""

import gc
import io
import json
import pickle
import re
import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import cftime
import msgspec
import numpy as np
import pytest
import xarray as xr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

import wildcast
from wildcast import _api
from wildcast._encode import to_json
from wildcast._retry import Retry
from wildcast.contract.manifest import Dataset
from wildcast.contract.wire import StatusAnswer

TOKEN = "canary-token"
WHEN = "2026-01-01T00:00:00Z"


class FakeServer:
    """As much of the API as a client sees, with answers that a test sets."""

    def __init__(self, cdn) -> None:
        self.cdn, self.id = cdn, cdn.execution
        self.submitted, self.paths, self.tokens, self.types = [], [], [], []
        self.statuses = ["completed"]
        self.error_message = None
        self.progress = None
        self.override = None
        self.storage_type, self.datasets = "s3", []

    async def handle(self, request: Request) -> Response:
        self.paths.append(request.url.path)
        self.tokens.append(request.headers.get("authorization"))
        if self.override is not None and (answer := self.override(request)) is not None:
            return answer
        tail = request.url.path.removeprefix("/v1/infer/")
        if request.method == "POST":
            self.types.append(request.headers.get("content-type"))
            self.submitted.append(json.loads(await request.body()))
            return JSONResponse(self.accepted(tail))
        if tail == "workflows":
            return JSONResponse({"workflows": {"wf": "makes data"}})
        if tail.startswith("workflows/"):
            return JSONResponse({"type": "object"})
        return self.of_execution(tail, request)

    def of_execution(self, tail, request):
        if tail == f"wf/{self.id}/status":
            return JSONResponse(self.status())
        if tail == f"wf/{self.id}/results":
            return JSONResponse(self.metadata())
        prefix = f"wf/{self.id}/results/{self.id}/"
        if tail.startswith(prefix) and self.storage_type == "server":
            found = self.cdn.objects.get(tail.removeprefix(prefix))
            return Response("{}", 404) if found is None else Response(found)
        return JSONResponse({"error": f"There is no {request.url.path}.", "details": None, "detail": "no"}, 404)

    def accepted(self, workflow):
        return {
            "workflow_name": workflow,
            "execution_id": self.id,
            "status": "queued",
            "position": 0,
            "message": "queued",
            "timestamp": WHEN,
        }

    def status(self):
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return {
            "workflow_name": "wf",
            "execution_id": self.id,
            "status": status,
            "position": None,
            "progress": self.progress,
            "start_time": WHEN,
            "end_time": None,
            "execution_time_seconds": None,
            "error_message": self.error_message,
            "metadata": None,
        }

    def metadata(self):
        return {
            "request_id": self.id,
            "status": "completed",
            "completion_time": WHEN,
            "execution_time_seconds": 1.0,
            "workflow_name": "wf",
            "created_at": WHEN,
            "parameters": {},
            "storage_type": self.storage_type,
            "remote_path": None,
            "signed_url": self.cdn.signed() if self.storage_type == "s3" else None,
            "datasets": self.datasets,
            "unknown_to_us": 1,
            "output_files": [
                {"path": f"{self.id}/{path}", "size": len(body)}
                for path, body in self.cdn.objects.items()
                if not path.startswith(".wildcast")
            ],
        }


@pytest.fixture(scope="module")
def api_server(serve_app):
    """A server that stays up for all tests here; each puts its own fake into the list."""
    fakes = []

    async def handle(request):
        return await fakes[-1].handle(request)

    with serve_app(Starlette(routes=[Route("/{path:path}", handle, methods=["GET", "POST"])])) as url:
        yield url, fakes


@pytest.fixture
def server(cdn, api_server, monkeypatch):
    """A fake API; `server.client` is a client of it."""
    monkeypatch.delenv("WILDCAST_TOKEN", raising=False)
    url, fakes = api_server
    fakes[:] = [FakeServer(cdn)]
    with wildcast.Client(url, TOKEN) as client:
        client._api._retry = Retry(attempts=3, base=0.001, cap=0.002)
        fakes[0].url, fakes[0].client = url, client
        yield fakes[0]


def failing(code, body=None, *, times=10_000, retry_after="0"):
    """Answer the first `times` requests with an error."""
    left = [times]

    def answer(_request):
        left[0] -= 1
        return (
            None
            if left[0] < 0
            else JSONResponse(body or {"error": "It went wrong."}, code, headers={"Retry-After": retry_after})
        )

    return answer


def result(server):
    return server.client.submit("wf").wait(timeout=20)


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


def test_the_default_address_is_the_local_server(monkeypatch):
    """Without any hint the client talks to this machine."""
    monkeypatch.delenv("WILDCAST_URL", raising=False)
    assert "http://127.0.0.1:8000" in repr(wildcast.Client())


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://h", "http://", "http://u:canary@h", "http://h?x=1", "http://h:x"]
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


@pytest.mark.parametrize("value", [b"bytes", object(), {1: 2}, 1j, np.array([1j])])
def test_types_that_json_does_not_have_are_refused(value):
    """A type without a form in JSON is an error that names its place."""
    with pytest.raises(TypeError, match=r"parameters\.a"):
        to_json({"a": value})


ERRORS = [
    (401, wildcast.NotAuthorizedError),
    (403, wildcast.NotAuthorizedError),
    (404, wildcast.UnknownWorkflowError),
    (409, wildcast.ApiError),
    (422, wildcast.InvalidParametersError),
    (429, wildcast.ServerBusyError),
    (500, wildcast.ServerUnavailableError),
    (503, wildcast.ServerUnavailableError),
]


@pytest.mark.parametrize(("code", "kind"), ERRORS)
def test_an_error_has_its_class_and_the_servers_words(server, code, kind):
    """Each kind of error is one class, with status, sentence and details; a submission is not repeated."""
    server.override = failing(code, {"error": "It went wrong.", "details": [{"field": "a"}]}, retry_after="7")
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
    server.override = failing(422, {"error": "Invalid.", "details": wrap(fields)})
    with pytest.raises(wildcast.InvalidParametersError) as caught:
        server.client.submit("wf")
    assert caught.value.fields == fields


def test_fastapis_own_errors_are_understood(server):
    """A body with `detail` alone gives its sentence."""
    server.override = failing(404, {"detail": "Not Found"})
    with pytest.raises(wildcast.UnknownWorkflowError, match="Not Found"):
        server.client.schema("nothing")


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_reading_calls_are_repeated(server, code):
    """A GET that fails for a moment is asked again."""
    server.override = failing(code, times=2)
    assert server.client.workflows() == {"wf": "makes data"}
    assert len(server.paths) == 3


def test_an_internal_error_is_not_repeated(server):
    """A 500 is the server's bug, and repeating it helps nobody."""
    server.override = failing(500)
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


def test_waiting_goes_through_every_status(server):
    """Waiting ends with the result once the execution has completed."""
    server.statuses = ["queued", "running", "pending_results", "completed"]
    assert result(server).metadata.status is wildcast.ExecutionStatus.COMPLETED


def test_waiting_for_a_failed_execution_raises_its_reason(server):
    """The server's own account of the failure reaches the caller."""
    server.statuses, server.error_message = ["running", "failed"], "ValueError: no such variable"
    with pytest.raises(wildcast.ExecutionFailedError, match="no such variable") as caught:
        result(server)
    assert (caught.value.execution_id, caught.value.reason) == (server.id, "ValueError: no such variable")


@pytest.mark.parametrize(
    ("status", "kind"), [("cancelled", wildcast.ExecutionCancelledError), ("expired", wildcast.ResultsExpiredError)]
)
def test_waiting_for_what_has_no_results_raises(server, status, kind):
    """Cancelled and expired executions have their own errors."""
    server.statuses = [status]
    with pytest.raises(kind):
        result(server)


def test_waiting_ends_at_its_timeout(server):
    """An execution that goes on is an error that says so, and is a TimeoutError."""
    server.statuses = ["running"]
    with pytest.raises(TimeoutError, match="still running") as caught:
        server.client.submit("wf").wait(timeout=0.05)
    assert isinstance(caught.value, wildcast.WaitTimeoutError)


def test_waiting_survives_a_restart_of_the_server(server):
    """A server that is gone for a while does not end the waiting."""
    server.statuses = ["running", "completed"]
    execution = server.client.submit("wf")
    server.override = failing(503, times=4)
    assert execution.wait(timeout=20).files == ()


def test_results_that_are_not_there_yet_are_pending(server):
    """Asking too early is an error of its own."""
    server.override = lambda request: (
        JSONResponse({"message": "not yet", "status": "running"}, 202) if request.url.path.endswith("results") else None
    )
    with pytest.raises(wildcast.ResultsPendingError, match="running"):
        server.client.submit("wf").result()


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [(404, "failed", wildcast.ExecutionFailedError), (400, "expired", wildcast.ResultsExpiredError)],
)
def test_results_that_there_are_not_say_why(server, code, status, kind):
    """The answer to a request for results is explained by the execution's status."""
    server.statuses = [status]
    server.override = lambda request: (
        JSONResponse({"error": "none"}, code) if request.url.path.endswith("results") else None
    )
    with pytest.raises(kind):
        server.client.submit("wf").result()


def test_a_bar_shows_steps_and_the_workflows_message(server, monkeypatch):
    """Asked for, the bar shows steps, status and the workflow's own words on standard error."""
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    server.statuses = ["running", "completed"]
    server.progress = {"progress": 0.5, "current_step": 3, "total_steps": 6, "message": "month 3", "variable": "t2m"}
    server.client.submit("wf").wait(timeout=20, progress=True)
    assert "3/6" in screen.getvalue()
    assert "running, month 3, variable=t2m" in screen.getvalue()


def test_no_bar_is_drawn_where_nobody_looks(server, capsys):
    """Without a terminal nothing is written."""
    result(server)
    assert capsys.readouterr().err == ""


def test_a_result_lists_and_shows_no_secret(server):
    """Files, paths and end are there; the repr has no signature."""
    server.cdn.publish(**{"r.zarr/zarr.json": b"{}", "a.nc": b"12"})
    found = result(server)
    assert found.paths == ("r.zarr/zarr.json", "a.nc")
    assert found.files[1].path == f"{server.id}/a.nc"
    assert found.signed_url.startswith(f"{server.cdn.base}/*?Policy=")
    assert found.expires_at > datetime.now(UTC)
    text = repr(found) + repr(found.fs) + repr(found.metadata)
    assert server.cdn.signature not in text


def test_datasets_are_found_where_the_server_names_none(server):
    """A server without `datasets` in its answer still has stores and files that can be opened."""
    for path in ("r.zarr/zarr.json", "r.zarr/t/c/0", "old/q.zarr/.zgroup", "old/q.zarr/t/0", "a.nc", "notes.txt"):
        server.cdn.objects[path] = b"1"
    assert result(server).datasets == (
        Dataset(path="a.nc", format="netcdf"),
        Dataset(path="old/q.zarr", format="zarr2"),
        Dataset(path="r.zarr", format="zarr3"),
    )


def dataset():
    return xr.Dataset({"t": ("x", np.arange(6.0))}, attrs={"title": "six"})


def publish_datasets(server, tmp_path, zarr_format=2):
    with_filter = tmp_path / "out"
    with_filter.mkdir()
    dataset().to_zarr(with_filter / "r.zarr", zarr_format=zarr_format, consolidated=zarr_format == 2)
    dataset().to_netcdf(with_filter / "a.nc", engine="h5netcdf")
    files = [path for path in with_filter.rglob("*") if path.is_file()]
    server.cdn.publish(**{path.relative_to(with_filter).as_posix(): path.read_bytes() for path in files})


@pytest.mark.parametrize("storage_type", ["s3", "server"])
@pytest.mark.parametrize("name", ["r.zarr", "r", "a.nc", "a", "exec_1769560728_10ed9d3c/a.nc"])
def test_datasets_open_by_path_or_stem(server, tmp_path, storage_type, name):
    """Zarr and netCDF open through the CDN and through the API alike."""
    server.storage_type = storage_type
    publish_datasets(server, tmp_path)
    with result(server).open_dataset(name) as opened:
        xr.testing.assert_identical(opened.load(), dataset())


def test_options_reach_xarray(server, tmp_path):
    """What xarray takes, `open_dataset` takes; its own defaults give way."""
    publish_datasets(server, tmp_path, zarr_format=3)
    opened = result(server).open_dataset("r", consolidated=False, drop_variables=["t"])
    assert list(opened.variables) == []


def test_several_datasets_need_a_name(server, tmp_path):
    """Nothing is chosen silently: the error lists what there is."""
    publish_datasets(server, tmp_path)
    with pytest.raises(wildcast.DatasetError, match=r"'a.nc', 'r.zarr'"):
        result(server).open_dataset()


def test_an_unknown_dataset_is_named(server, tmp_path):
    """A dataset that is not there is an error that lists those that are."""
    publish_datasets(server, tmp_path)
    with pytest.raises(wildcast.DatasetError, match=r"'b.nc'.*is not there"):
        result(server).open_dataset("b.nc")


def test_a_netcdf_file_is_not_read_whole(server, tmp_path):
    """Opening a large netCDF file reads some blocks of it only."""
    big = xr.Dataset({"t": (("y", "x"), np.random.default_rng(0).random((400, 4000)))})
    big.to_netcdf(tmp_path / "big.nc", engine="h5netcdf")
    server.cdn.publish(**{"big.nc": (tmp_path / "big.nc").read_bytes()})
    opened = result(server).open_dataset()
    assert float(opened["t"][0, 0]) == float(big["t"][0, 0])
    assert 0 < server.cdn.asked("big.nc") <= 5


def test_the_mapper_of_a_result_opens_its_store(server, tmp_path):
    """`get_mapper` gives what xarray's own `open_zarr` takes."""
    publish_datasets(server, tmp_path)
    mapper = wildcast.get_mapper(result(server), "r.zarr")
    xr.testing.assert_identical(xr.open_zarr(mapper, consolidated=True, chunks=None).load(), dataset())


def test_a_result_stays_readable_after_its_client_is_closed(server, tmp_path):
    """Closing the client frees its connections, not the results."""
    publish_datasets(server, tmp_path)
    found = result(server)
    server.client.close()
    server.cdn.accepted = set()
    with pytest.raises(wildcast.AccessRefusedError):
        found.fs.cat_file("a.nc")
    assert sum(path.endswith("results") for path in server.paths) == 2


def test_files_of_the_api_need_its_token(server, tmp_path):
    """Where the API serves the files, requests carry the token, and pickles do not."""
    server.storage_type = "server"
    publish_datasets(server, tmp_path)
    found = result(server)
    found.fs.cat_file("a.nc")
    assert server.tokens[-1] == f"Bearer {TOKEN}"
    assert TOKEN.encode() not in pickle.dumps(found.fs)
    assert found.signed_url is None
    assert found.expires_at is None


def test_a_file_that_the_api_lists_and_lacks_is_lost(server):
    """The server's own 404 for a file that it listed is no gap in the data."""
    server.storage_type = "server"
    server.cdn.objects["r.zarr/t/c/0"] = b"1"
    found = result(server)
    fs = found.fs
    server.cdn.objects.clear()
    with pytest.raises(wildcast.LostObjectError):
        fs.cat_file("r.zarr/t/c/0")


def test_the_cdn_never_sees_the_token(server):
    """The API's token is not sent to the CDN."""
    server.cdn.objects["a.nc"] = b"12"
    result(server).fs.cat_file("a.nc")
    assert all("authorization" not in headers for headers in server.cdn.headers)


def test_a_file_is_downloaded_below_the_directory(server, tmp_path):
    """The file's own path is kept below the directory that was named."""
    server.cdn.publish(**{"plots/map 1.png": b"png"})
    target = result(server).download("plots/map 1.png", tmp_path / "new")
    assert target == tmp_path / "new" / "plots" / "map 1.png"
    assert target.read_bytes() == b"png"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    "path", ["../up", "a/../../up", "/etc/x", "C:\\x", "C:x", "..\\up", "a\\..\\..\\up", "", "a//b", "a\0b"]
)
def test_a_path_that_leaves_the_directory_is_refused(server, tmp_path, path):
    """A name that would be written elsewhere, on any system, is refused before anything is asked for."""
    with pytest.raises(wildcast.UnsafePathError):
        result(server).download(path, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_link_out_of_the_directory_is_not_followed(server, tmp_path):
    """A directory of the target that is a link to elsewhere is refused."""
    server.cdn.publish(**{"plots/a/map.png": b"png"})
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "plots").symlink_to(outside)
    with pytest.raises(wildcast.UnsafePathError, match="link"):
        result(server).download("plots/a/map.png", inside)
    assert list(outside.iterdir()) == []


def test_a_link_in_the_files_place_is_replaced(server, tmp_path):
    """The download takes the link's place and leaves what it points to alone."""
    server.cdn.publish(**{"map.png": b"png"})
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "map.png").symlink_to(tmp_path / "precious")
    result(server).download("map.png", tmp_path)
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "map.png").read_bytes() == b"png"


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
