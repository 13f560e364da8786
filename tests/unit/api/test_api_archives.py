"""Archives over HTTP: which URLs and answers there are, and what a client sees when something goes wrong."""

import io
import socket
import subprocess
import tarfile
import time
import zipfile

import httpx
import pytest

from wildcast.contract.naming import MANIFEST_PATH
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server import workflow
from wildcast_server.api import UseCases, create_api
from wildcast_server.api.actions import Actions
from wildcast_server.domain.execution import Execution
from wildcast_server.domain.registry import Registry
from wildcast_server.http.archives import WHOLE_BYTES
from wildcast_server.jobs.memory_jobs import MemoryJobs
from wildcast_server.publish import Published, Publisher, publish_in_place
from wildcast_server.records import MemoryRecords
from wildcast_server.signing import keys
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.store import open_store
from wildcast_server.transfer import Transfer
from wildcast_server.usecases.archive import FROM_DISK
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.listing import ListExecutions
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.results import Results
from wildcast_server.usecases.room import Room
from wildcast_server.usecases.sign import Sign
from wildcast_server.usecases.submit import Submit
from wildcast_server.wiring.serving import ServerThread, bind, url_of

ID = "exec_1_00000001"
LARGE = 24 * WHOLE_BYTES
URL = f"/v1/infer/simulate/{ID}"
ZIP, TAR = f"{URL}/archive", f"{URL}/archive?format=tar"
NAMED = f"{URL}/results/simulate:{ID}"
TIMEOUT = 20.0


@pytest.fixture
def records():
    """Records in memory."""
    return MemoryRecords()


def running(records, stores, signer, root):
    registry = Registry()

    @workflow
    def simulate(n: int = 1) -> None:
        """Do nothing."""

    registry.add(simulate)
    lookup, jobs = Lookup(records), MemoryJobs()
    results = Results(lookup, stores, signer)
    app = create_api(
        UseCases(
            workflows=registry,
            submit=Submit(registry, records, jobs, Room(root, 0)),
            lookup=lookup,
            results=results,
            listing=ListExecutions(registry, records),
            actions=Actions.of(lookup, records, jobs, Ending("server")),
            sign=Sign(lookup, results, signer),
        ),
        max_body_bytes=1000,
    )
    bound = bind("127.0.0.1", 0, "api")
    return ServerThread("API", app, bound), url_of(bound)


@pytest.fixture
def api(records, tmp_path):
    """The API over local results."""
    server, url = running(records, {"server": open_store(tmp_path.as_uri())}, None, tmp_path)
    with server, httpx.Client(base_url=url, timeout=TIMEOUT) as client:
        yield client


def complete(records, publish):
    records.insert(Execution(id=ID, workflow_name="simulate", parameters={}))
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    records.change(ID, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
    published: Published = publish()
    records.change(ID, expected=Status.PENDING_RESULTS, to=Status.COMPLETED, published=as_record(published, 1))


def write_output(directory):
    (directory / "sub").mkdir(parents=True)
    (directory / "sub" / "ü.txt").write_text("inner")
    (directory / "a.txt").write_text("0123456789")
    (directory / "empty").touch()
    (directory / f"simulate:{ID}x").write_text("a name that is nearly the archive's")
    return directory


@pytest.fixture
def published(records, tmp_path):
    """A completed execution, with some files on disk."""
    directory = write_output(tmp_path / ID)
    complete(records, lambda: publish_in_place(directory, ID))
    return directory


@pytest.fixture
def large(records, tmp_path):
    """A completed execution whose last file is large and sparse."""
    directory = tmp_path / ID
    directory.mkdir()
    (directory / "a.txt").write_text("0123456789")
    with (directory / "large").open("wb") as file:
        file.truncate(LARGE)
    complete(records, lambda: publish_in_place(directory, ID))
    return directory


def names_in(answer, form="zip"):
    if form == "tar":
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
            return archive.getnames()
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


@pytest.mark.parametrize(
    ("url", "form"),
    [
        (ZIP, "zip"),
        (f"{ZIP}?format=zip", "zip"),
        (TAR, "tar"),
        (NAMED, "zip"),
        (NAMED.replace(":", "%3A"), "zip"),
        (f"{NAMED}.zip", "zip"),
        (f"{NAMED}.tar", "tar"),
    ],
)
def test_each_url_is_the_archive(api, published, url, form):
    """By its format, or by the name that existing clients know; the headers say what it is."""
    answer = api.get(url, headers={"Accept": "application/json", "Range": "bytes=0-9"})
    assert answer.status_code == 200
    paths = [path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()]
    assert sorted(names_in(answer, form)) == sorted(f"{ID}/{path}" for path in paths)
    assert f"{ID}/{MANIFEST_PATH}" in names_in(answer, form)
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["content-type"] == {"zip": "application/zip", "tar": "application/x-tar"}[form]
    assert answer.headers["content-disposition"] == f'attachment; filename="simulate_{ID}.{form}"'
    assert answer.headers["accept-ranges"] == "none"


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["unzip", "-q", "archive"], id="unzip", marks=pytest.mark.system),
        pytest.param(["tar", "-xf", "archive"], id="tar"),
    ],
)
def test_a_download_is_extracted_to_the_same_files(api, published, tmp_path, command):
    """By the program that most people have."""
    place = tmp_path / "downloaded"
    place.mkdir()
    (place / "archive").write_bytes(api.get(ZIP if command[0] == "unzip" else TAR).content)
    subprocess.run(command, cwd=place, check=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"})
    subprocess.run(["diff", "-r", str(published), str(place / ID)], check=True)


@pytest.mark.usefixtures("published")
def test_a_name_that_is_not_the_archives_is_a_file(api):
    """Colons are legal in the names of files."""
    assert api.get(f"{NAMED}x").text == "a name that is nearly the archive's"
    assert api.get(f"{URL}/results/other:{ID}").status_code == 404
    assert api.get(f"{NAMED}.rar").status_code == 404


def test_head_reads_no_file(api, published):
    """All headers of the GET, also when the files are gone."""
    expected = api.get(ZIP).headers
    for path in ("a.txt", "sub/ü.txt"):
        (published / path).unlink()
    answer = api.head(ZIP)
    assert (answer.status_code, answer.content) == (200, b"")
    for name in ("content-length", "etag", "last-modified", "content-disposition", "content-type", "accept-ranges"):
        assert answer.headers[name] == expected[name]


@pytest.mark.usefixtures("published")
def test_who_has_the_archive_already_is_told_so(api):
    """304 by its version, 412 if another version was wanted; zip and tar are different versions."""
    etag = api.head(ZIP).headers["etag"]
    assert api.get(ZIP, headers={"If-None-Match": etag}).status_code == 304
    assert api.get(ZIP, headers={"If-Match": etag}).status_code == 200
    assert api.get(TAR, headers={"If-None-Match": etag}).status_code == 200
    answer = api.get(TAR, headers={"If-Match": etag})
    assert (answer.status_code, answer.json().keys()) == (412, {"error", "details", "detail"})


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("name", ["rar", "", "ZIP", "../zip"])
def test_another_format_is_refused_with_those_that_there_are(api, name):
    """In the form of any error."""
    answer = api.get(ZIP, params={"format": name})
    assert answer.status_code == 422
    assert "zip or tar" in answer.json()["error"]
    assert answer.json()["details"][0]["field"] == "format"


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("url", [ZIP, NAMED])
def test_an_archive_is_only_read(api, url):
    """POST is 405, with the methods that there are."""
    answer = api.post(url)
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("url", [ZIP, NAMED])
@pytest.mark.parametrize(
    ("status", "code"), [(Status.QUEUED, 202), (Status.RUNNING, 202), (Status.FAILED, 404), (Status.CANCELLED, 404)]
)
def test_without_results_the_answer_is_that_of_the_results(api, records, url, status, code):
    """Not yet is 202 with when to come again, never is 404."""
    records.insert(Execution(id=ID, workflow_name="simulate", parameters={}))
    if status is not Status.QUEUED:
        records.change(ID, expected=Status.QUEUED, to=status, error_message="it did not converge")
    answer = api.get(url)
    assert answer.status_code == code == api.get(f"{URL}/results").status_code
    assert answer.json() == api.get(f"{URL}/results").json()
    assert ("retry-after" in answer.headers) == (code == 202)


@pytest.mark.usefixtures("published")
def test_an_expired_result_has_no_archive(api, records):
    """400, as existing clients expect it of the results."""
    records.change(ID, expected=Status.COMPLETED, to=Status.EXPIRED)
    assert api.get(ZIP).status_code == 400


@pytest.mark.usefixtures("published")
def test_unknown_names_are_404(api):
    """Another workflow's name or another id, on both routes."""
    for url in (
        f"/v1/infer/other/{ID}/archive",
        f"/v1/infer/other/{ID}/results/other:{ID}",
        "/v1/infer/simulate/exec_1_00000002/archive",
        "/v1/infer/simulate/exec_1_00000002/results/simulate:exec_1_00000002",
    ):
        answer = api.get(url)
        assert (answer.status_code, answer.json().keys()) == (404, {"error", "details", "detail"})


def test_a_result_in_object_storage_comes_through_the_api(records, tmp_path):
    """No redirect: no signed URL has the archive, because it is nowhere."""
    store = open_store("memory://")
    directory = write_output(tmp_path / ID)
    complete(records, lambda: Publisher(store, Transfer(store), prefix="outputs").publish(directory, ID, attempt=1))
    signer = CloudFrontSigner("https://cdn.example", "KTEST", keys.generate_private_key(), expires_in=60)
    server, url = running(records, {"s3": store}, signer, tmp_path)
    with server, httpx.Client(base_url=url) as client:
        assert f"{ID}/sub/ü.txt" in names_in(client.get(NAMED))
        assert client.get(f"{URL}/results/a.txt").status_code == 307


def test_object_storage_that_is_off_is_503(records, api, tmp_path):
    """The sentence names the setting."""
    store = open_store("memory://")
    directory = write_output(tmp_path / "output")
    complete(records, lambda: Publisher(store, Transfer(store), prefix="outputs").publish(directory, ID, attempt=1))
    answer = api.get(ZIP)
    assert answer.status_code == 503
    assert "object_storage.enabled" in answer.json()["error"]


@pytest.mark.parametrize("url", [ZIP, TAR])
@pytest.mark.parametrize("how", ["lost", "shorter", "other"])
def test_a_failure_in_the_middle_breaks_the_connection(api, large, url, how):
    """The client got a length, and less than that: it cannot take the archive for whole."""
    expected = int(api.head(url).headers["content-length"])
    if how == "lost":
        (large / "large").unlink()
    else:
        with (large / "large").open("r+b") as file:
            file.truncate(LARGE - 1) if how == "shorter" else file.write(b"?")
    got = []
    with api.stream("GET", url) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            got.extend(map(len, answer.iter_raw()))
    assert sum(got) < expected


def test_a_client_that_goes_away_ends_the_reading(records, tmp_path):
    """It took the beginning of 256 MiB and left; no more than the bound is read."""
    size = 256 << 20
    directory = tmp_path / ID
    directory.mkdir()
    with (directory / "large").open("wb") as file:
        file.truncate(size)
    complete(records, lambda: publish_in_place(directory, ID))
    store = open_store(tmp_path.as_uri())
    asked = []
    get = type(store).get

    class Watched(type(store)):
        def get(self, key, byte_range=None) -> bytes:
            asked.append(byte_range)
            return get(self, key, byte_range)

    store.__class__ = Watched
    server, url = running(records, {"server": store}, None, tmp_path)
    with server:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.sendall(f"GET {TAR} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
            settle(lambda: len(asked))
        before = settle(lambda: len(asked))
        assert before * WHOLE_BYTES <= FROM_DISK.bytes + 8 * WHOLE_BYTES
        # And the server is free: the next one gets it all.
        with httpx.Client(base_url=url) as other, other.stream("GET", TAR) as answer:
            assert sum(map(len, answer.iter_raw())) == int(answer.headers["content-length"])


def settle(count):
    """Return what `count` returns once that no longer changes for a while."""
    deadline = time.monotonic() + TIMEOUT
    before, since = count(), time.monotonic()
    while time.monotonic() - since < 0.3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
        if (now := count()) != before:
            before, since = now, time.monotonic()
    return before


@pytest.mark.usefixtures("published")
def test_both_routes_are_documented(api):
    """With their formats, their answers, and the bytes that they send."""
    paths = api.get("/openapi.json").json()["paths"]
    by_format = paths["/v1/infer/{workflow_name}/{execution_id}/archive"]["get"]
    named = paths["/v1/infer/{workflow_name}/{execution_id}/results/{archive_name}"]["get"]
    choice = next(each for each in by_format["parameters"] if each["name"] == "format")
    assert choice["schema"]["enum"] == ["zip", "tar"]
    for operation in (by_format, named):
        assert {"200", "202", "304", "400", "404", "412", "502", "503"} <= set(operation["responses"])
        assert "application/zip" in operation["responses"]["200"]["content"]
