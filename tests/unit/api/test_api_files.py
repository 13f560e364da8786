"""Single files of a result: which answer each request becomes, from the API with either storage type."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import httpx
import pytest
from fastapi import FastAPI

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.api import errors
from wildcast_server.api.files import file_routes
from wildcast_server.domain.execution import Execution, PublicationRecord
from wildcast_server.publish import Publisher, publish_in_place
from wildcast_server.records import MemoryRecords
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.signing.keys import generate_private_key
from wildcast_server.store import open_store
from wildcast_server.transfer import Transfer
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.results import Results
from wildcast_server.wiring.serving import ServerThread, bind, url_of

ID = "exec_1_00000001"
BASE = f"/v1/infer/flow/{ID}/results"
ARRAY = (
    b'{"zarr_format":3,"node_type":"array","shape":[2,2],"data_type":"uint8","fill_value":0,"codecs":[{"name":"bytes"}],'
    b'"chunk_grid":{"name":"regular","configuration":{"chunk_shape":[1,1]}},"chunk_key_encoding":{"name":"default"}}'
)
FILES = {
    "ten.bin": b"0123456789",
    "empty": b"",
    "größe 100%.nc": b"odd",
    "日本/図 #1?.png": b"png",
    'say "hi"; x=1.txt': b"quoted",
    "\u202egnp.exe": b"bidi",
    "page.html": b"<script>fetch('/v1/workflows')</script>",
    "a.zarr/zarr.json": ARRAY,
    "a.zarr/c/0/0": b"chunk",
}


@dataclass(frozen=True)
class Api:
    """The API's route of files over one published result."""

    http: httpx.Client
    directory: Path

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(
            f"{BASE}/{quote(path)}", headers={name.replace("_", "-"): headers[name] for name in headers}
        )


def serve(results: Results, directory: Path) -> Iterator[Api]:
    app = FastAPI()
    errors.install(app)
    app.include_router(file_routes(results), prefix="/v1/infer")
    bound = bind("127.0.0.1", 0, "api")
    with ServerThread("API", app, bound), httpx.Client(base_url=url_of(bound)) as client:
        yield Api(client, directory)


def completed(record: PublicationRecord) -> Lookup:
    records = MemoryRecords()
    records.insert(Execution(id=ID, workflow_name="flow", parameters={}))
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    records.change(ID, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
    records.change(ID, expected=Status.PENDING_RESULTS, to=Status.COMPLETED, published=record)
    return Lookup(records)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output directory with names of all kinds."""
    directory = tmp_path / "outputs" / ID
    for name, data in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return directory


@pytest.fixture
def api(output: Path) -> Iterator[Api]:
    """Storage type `server`: the API sends the files itself."""
    lookup = completed(as_record(publish_in_place(output, ID), 1))
    yield from serve(Results(lookup, {"server": open_store(output.parent.as_uri())}, None), output)


@pytest.fixture
def storage(output: Path, tmp_path: Path) -> Iterator[Api]:
    """Storage type `s3`: files are read by signed URL."""
    store = open_store((tmp_path / "store").as_uri())
    record = as_record(Publisher(store, Transfer(store), prefix="outputs").publish(output, ID), 1)
    signer = CloudFrontSigner("https://d111.cloudfront.net", "KTEST", generate_private_key())
    yield from serve(Results(completed(record), {"s3": store}, signer), tmp_path / "store" / "outputs" / ID)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_sent_under_its_name(api: Api, name: str) -> None:
    """Any Unicode name: the bytes, and the last component of the path for whoever saves it."""
    answer = api.get(name)
    assert (answer.status_code, answer.content) == (200, FILES[name])
    last = name.rpartition("/")[2]
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith('inline; filename="')
    assert disposition.endswith((f'"{last}"', f"''{disposition.rpartition(chr(39))[2]}"))
    if not disposition.endswith(f'"{last}"'):
        assert unquote(disposition.rpartition("''")[2]) == last


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ten.bin", "application/octet-stream"),
        ("größe 100%.nc", "application/netcdf"),
        ("日本/図 #1?.png", "image/png"),
        ("a.zarr/zarr.json", "application/json"),
    ],
)
def test_a_file_has_its_media_type(api: Api, name: str, kind: str) -> None:
    """Whatever the client says that it accepts: 406 is never an answer."""
    for accepted in ("application/json", "text/html", "*/*"):
        answer = api.get(name, Accept=accepted)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-1"}, {"Range": "bytes=0-0,2-2"}, {"If-Match": '"other"'}])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_file_runs_scripts_in_the_services_name(api: Api, method: str, headers: dict[str, str]) -> None:
    """Whoever may run workflows could else act for whoever looks at their results."""
    answer = api.http.request(method, f"{BASE}/page.html", headers=headers)
    assert answer.headers["content-security-policy"] == "sandbox"


@pytest.mark.parametrize("name", ["ten.bin", "empty", "größe 100%.nc"])
def test_head_has_the_headers_of_get(api: Api, name: str) -> None:
    """All of them, and no body; a range changes nothing (RFC 9110 §14.2)."""
    got = api.get(name)
    for headers in ({}, {"Range": "bytes=0-1"}):
        head = api.http.head(f"{BASE}/{quote(name)}", headers=headers)
        assert (head.status_code, head.content) == (200, b"")
        assert {**head.headers, "date": ""} == {**got.headers, "date": ""}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_is_not_sent(api: Api, method: str) -> None:
    """304 with the ETag and without type, length or name."""
    etag = api.get("ten.bin").headers["etag"]
    answer = api.http.request(method, f"{BASE}/ten.bin", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert not {"content-type", "content-disposition", "content-length"} & set(answer.headers)


def test_a_version_that_is_gone_is_412(api: Api) -> None:
    """In the form of any error, with the ETag that there is; caches must not keep it."""
    answer = api.get("ten.bin", If_Match='"other"')
    assert answer.status_code == 412
    assert answer.json().keys() == {"error", "details", "detail"}
    assert answer.headers["etag"] == api.get("ten.bin").headers["etag"]
    assert answer.headers["cache-control"] == "no-store"


def test_a_file_that_was_replaced_has_another_etag(api: Api) -> None:
    """A range of the new one is never appended to the old one."""
    old = api.get("ten.bin").headers["etag"]
    (api.directory / "new").write_bytes(b"9876543210")
    (api.directory / "new").replace(api.directory / "ten.bin")
    answer = api.get("ten.bin", Range="bytes=5-", If_Range=old)
    assert (answer.status_code, answer.content) == (200, b"9876543210")


def test_a_workflow_may_write_what_a_store_of_files_cannot_be_given(tmp_path: Path) -> None:
    """Where a result is served as it lies, nothing has to be written: names that end in # and digits are fine."""
    directory = tmp_path / ID
    directory.mkdir()
    (directory / "plot#1").write_bytes(b"odd")
    lookup = completed(as_record(publish_in_place(directory, ID), 1))
    with contextmanager(serve)(Results(lookup, {"server": open_store(tmp_path.as_uri())}, None), directory) as api:
        assert api.get("plot#1").content == b"odd"


@pytest.mark.parametrize("range_", ["bytes=0-", "bytes=-5", "bytes=0-0,2-2"])
def test_an_empty_file_has_no_range(api: Api, range_: str) -> None:
    """Its last bytes are all of it; any other range is not satisfiable."""
    answer = api.get("empty", Range=range_)
    if range_ == "bytes=-5":
        assert (answer.status_code, answer.content) == (200, b"")
    else:
        assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */0")


@pytest.mark.parametrize("key", ["a.zarr/c/0/1", "a.zarr/y/zarr.json", "a.zarr/.zmetadata", "a.zarr"])
def test_a_missing_zarr_key_is_404(api: Api, key: str) -> None:
    """Zarr's readers ask for what was never written; only that may read as missing."""
    assert api.get(key).status_code == 404


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-1"}, {"Range": "bytes=0-0,2-2"}, {"If-None-Match": "*"}])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_listed_file_that_was_lost_is_no_404(api: Api, method: str, headers: dict[str, str]) -> None:
    """5xx: a reader would take anything else for a fill value."""
    (api.directory / "a.zarr/c/0/0").unlink()
    assert api.http.request(method, f"{BASE}/a.zarr/c/0/0", headers=headers).status_code == 502


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", ["ten.bin", "größe 100%.nc"])
def test_in_object_storage_the_answer_is_the_signed_url(storage: Api, method: str, name: str) -> None:
    """307, made for this request and never kept; a range is the CDN's matter."""
    answer = storage.http.request(method, f"{BASE}/{quote(name)}", headers={"Range": "bytes=0-1"})
    assert answer.status_code == 307
    assert answer.headers["location"].startswith(f"https://d111.cloudfront.net/outputs/{ID}/{quote(name)}?")
    assert "Signature=" in answer.headers["location"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content == b""


def test_in_object_storage_a_missing_key_is_404_all_the_same(storage: Api) -> None:
    """No URL is signed for what is not there."""
    assert storage.get("a.zarr/c/0/1").status_code == 404


def test_the_documentation_names_every_answer(api: Api) -> None:
    """Those that a client of files has to know."""
    described = api.http.get("/openapi.json").json()["paths"]
    operation = described["/v1/infer/{workflow_name}/{execution_id}/results/{path}"]["get"]
    assert {"200", "206", "304", "307", "404", "412", "416", "502"} <= operation["responses"].keys()
