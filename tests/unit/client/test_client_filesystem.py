"""The signed filesystem over a real HTTP server that fails in every way a CDN can."""

import asyncio
import hashlib
import pickle
import time

import fsspec
import pytest
from starlette.responses import Response, StreamingResponse

import wildcast
from wildcast._retry import Retry
from wildcast.contract.manifest import FileRow, encode_manifest
from wildcast.contract.naming import MANIFEST_PATH

BODY = bytes(range(256)) * 10


def etag_of(body):
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def status(code, path="a.bin", headers=None):
    return lambda asked, _: Response("failure", code, headers=headers) if asked == path else None


def cut_short(asked, _request):
    async def half():
        yield BODY[:100]

    return StreamingResponse(half(), headers={"Content-Length": str(len(BODY))}) if asked == "a.bin" else None


ODD_NAMES = ["a b", "a#b", "a?b=c", "a+b", "a%2eb", "ü/日本", "a&b", "it's", 'q"q', "a*b[0]", "t:0"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_arrive_as_they_are(cdn, name):
    """Every legal name is percent-encoded once, and the signature's own characters are left alone."""
    cdn.objects[name] = b"odd"
    assert cdn.fs().cat_file(name) == b"odd"


def test_a_path_that_leaves_the_prefix_is_refused(cdn):
    """A segment of two dots is not sent anywhere."""
    with pytest.raises(wildcast.MissingFileError, match="plain segments"):
        cdn.fs().cat_file("../exec_2/a.bin")
    assert cdn.requests == []


def test_plain_bytes_are_asked_for(cdn):
    """The request asks for no compression, so a length is the file's."""
    cdn.objects["a.bin"] = BODY
    cdn.fs().cat_file("a.bin")
    assert {headers["accept-encoding"] for headers in cdn.headers} == {"identity"}


def test_an_encoded_answer_is_refused(cdn):
    """Bytes that a proxy has compressed are not taken for the file's."""
    cdn.fault = status(200, headers={"Content-Encoding": "gzip"})
    with pytest.raises(wildcast.TransferBrokenError, match="gzip"):
        cdn.fs().cat_file("a.bin")


def test_a_missing_file_without_manifest_is_missing(cdn):
    """A 404 below a prefix of others means that the file is not there."""
    with pytest.raises(FileNotFoundError) as caught:
        cdn.fs().cat_file("a.bin")
    assert isinstance(caught.value, wildcast.MissingFileError)


def test_a_missing_file_that_the_manifest_lacks_is_missing(cdn):
    """A 404 for what the manifest does not list means that it was never written."""
    cdn.publish(**{"b.bin": b"b"})
    with pytest.raises(FileNotFoundError):
        cdn.fs().cat_file("a.bin")


def test_a_missing_file_that_the_manifest_lists_is_lost(cdn):
    """A 404 for what the manifest lists is an error that no reader takes for a gap."""
    cdn.publish(**{"a.bin": BODY})
    del cdn.objects["a.bin"]
    with pytest.raises(wildcast.LostObjectError) as caught:
        cdn.fs().cat_file("a.bin")
    assert isinstance(caught.value, OSError)
    assert not isinstance(caught.value, FileNotFoundError)


def test_the_manifest_is_fetched_once(cdn):
    """Many readers of missing files ask for the manifest once, and then not even for the files."""
    cdn.publish(**{"a.bin": BODY})
    fs = cdn.fs()
    fs.cat([f"missing/{i}" for i in range(50)], on_error="omit")
    before = len(cdn.requests)
    assert not fs.exists("another")
    assert cdn.asked(MANIFEST_PATH) == 1
    assert len(cdn.requests) == before


def test_a_first_read_fetches_the_manifest_with_it(cdn):
    """A file is held to the manifest from the first one on; nothing else is asked for."""
    cdn.publish(**{"a.bin": BODY})
    fs = cdn.fs()
    assert [fs.cat_file("a.bin") for _ in range(3)] == [BODY] * 3
    assert [path for _, path, _ in cdn.requests] == [MANIFEST_PATH, *["a.bin"] * 3]


def test_a_damaged_manifest_is_an_error(cdn):
    """A manifest that cannot be understood does not make files missing."""
    cdn.objects[MANIFEST_PATH] = b"junk"
    with pytest.raises(wildcast.DamagedManifestError):
        cdn.fs().cat_file("a.bin")


def test_a_manifest_that_cannot_be_read_is_asked_for_again(cdn):
    """A store that fails for a while does not turn a published prefix into one without a manifest."""
    cdn.publish(**{"a.bin": BODY})
    fs = cdn.fs()
    cdn.fault = status(503, MANIFEST_PATH)
    with pytest.raises(wildcast.StoreUnavailableError):
        fs.ls("")
    cdn.fault = None
    assert fs.ls("", detail=False) == ["a.bin"]


@pytest.mark.parametrize("code", [401, 403])
def test_a_refusal_is_never_missing(cdn, code):
    """A refused request is a PermissionError, and says nothing about the file."""
    cdn.fault = status(code)
    with pytest.raises(PermissionError) as caught:
        cdn.fs().cat_file("a.bin")
    assert type(caught.value) is wildcast.AccessRefusedError
    assert cdn.asked("a.bin") == 1


def test_an_expired_url_is_named(cdn):
    """A refusal after the URL's own end says that it has ended."""
    cdn.fault = status(403)
    fs = wildcast.SignedFileSystem(cdn.signed(expires_in=-5), retry=cdn.retry)
    with pytest.raises(wildcast.UrlExpiredError, match="ended at"):
        fs.cat_file("a.bin")


def test_a_url_without_a_signature_is_told_so(cdn):
    """As one that was copied without its query."""
    cdn.fault = status(403)
    with pytest.raises(wildcast.AccessRefusedError, match="no signature"):
        wildcast.SignedFileSystem(f"{cdn.base}/*", retry=cdn.retry).cat_file("a.bin")


@pytest.mark.parametrize("method", ["exists", "isfile", "isdir", "info", "ls", "find", "walk", "du", "glob"])
def test_a_refusal_is_never_an_answer(cdn, method):
    """No way of asking what is there takes a refusal for "nothing"."""
    cdn.fault = lambda *_: Response("no", 403)
    ask = getattr(cdn.fs(), method)
    with pytest.raises(wildcast.AccessRefusedError):
        list(ask("directory/*"))


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_a_failing_store_is_asked_again(cdn, code):
    """An answer that may pass is repeated until it has."""
    cdn.objects["a.bin"] = BODY
    fail = status(code)
    cdn.fault = lambda path, request: fail(path, request) if cdn.asked("a.bin") < 3 else None
    assert cdn.fs().cat_file("a.bin") == BODY


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 418, 410])
def test_a_store_that_keeps_failing_is_an_error(cdn, code):
    """After the last attempt the failure is an OSError that is not "missing"."""
    cdn.fault = status(code)
    with pytest.raises(wildcast.ReadError) as caught:
        cdn.fs().cat_file("a.bin")
    assert not isinstance(caught.value, FileNotFoundError)
    assert str(code) in str(caught.value)


def test_retry_after_is_honoured(cdn):
    """A server that names a time is not asked before it."""
    cdn.objects["a.bin"] = BODY
    fail = status(503, headers={"Retry-After": "1"})
    cdn.fault = lambda path, request: fail(path, request) if cdn.asked("a.bin") < 2 else None
    started = time.monotonic()
    cdn.fs().cat_file("a.bin")
    assert time.monotonic() - started >= 0.9


def test_a_body_that_is_cut_short_is_an_error(cdn):
    """Fewer bytes than promised are asked for again, and then an error."""
    cdn.fault = cut_short
    with pytest.raises(wildcast.TransferBrokenError):
        cdn.fs().cat_file("a.bin")
    assert cdn.asked("a.bin") == cdn.retry.attempts


def test_a_body_that_is_cut_short_once_is_repeated(cdn):
    """A connection that broke in the middle costs a repetition only."""
    cdn.objects["a.bin"] = BODY
    cdn.fault = lambda path, request: cut_short(path, request) if cdn.asked("a.bin") < 2 else None
    assert cdn.fs().cat_file("a.bin") == BODY


@pytest.mark.parametrize("bounds", [(None, None), (0, 10), (-10, None)])
def test_a_size_unlike_the_manifests_is_an_error(cdn, bounds):
    """An object that was replaced by another one is not read, once the manifest is known."""
    cdn.publish(**{"a.bin": BODY})
    cdn.objects["a.bin"] = BODY[:-1]
    fs = cdn.fs()
    fs.ls("")
    with pytest.raises(wildcast.TransferBrokenError, match="manifest"):
        fs.cat_file("a.bin", *bounds)


def test_a_redirect_to_a_login_page_is_an_error(cdn):
    """A redirect is not followed: what lies behind it is not the file."""
    cdn.fault = status(302, headers={"Location": "http://127.0.0.1:1/login"})
    with pytest.raises(wildcast.TransferBrokenError, match="login"):
        cdn.fs().cat_file("a.bin")


def test_a_silent_server_is_an_error(cdn):
    """A server that says nothing for the time given is given up."""

    async def forever():
        yield b"x"
        await asyncio.sleep(30)

    cdn.fault = lambda *_: StreamingResponse(forever(), headers={"Content-Length": "9"})
    with pytest.raises(wildcast.StoreUnavailableError, match="Timeout"):
        wildcast.SignedFileSystem(cdn.signed(), retry=Retry(attempts=1), timeout=0.2).cat_file("a.bin")


def test_a_server_that_is_not_there_is_an_error():
    """No connection is an OSError that is not "missing"."""
    fs = wildcast.SignedFileSystem("http://127.0.0.1:9/p/*?Signature=s", retry=Retry(attempts=1))
    with pytest.raises(wildcast.StoreUnavailableError):
        fs.cat_file("a.bin")


@pytest.mark.parametrize("is_listed", [True, False])
def test_an_unsatisfiable_range_is_named_as_zarr_expects(cdn, is_listed):
    """A range behind the end has zarr's two words only where the manifest tells the end, and never by the CDN's."""
    cdn.objects["a.bin"] = BODY
    if is_listed:
        cdn.write_manifest()
    with pytest.raises(wildcast.RangeNotSatisfiableError) as caught:
        cdn.fs().cat_file("a.bin", len(BODY), None)
    assert ("not satisfiable" in str(caught.value)) == is_listed


@pytest.mark.parametrize("bounds", [(None, None), (0, 10)])
def test_a_wrong_416_is_not_taken_for_an_empty_file(cdn, bounds):
    """A 416 that no range can explain has none of the words that zarr reads as empty."""
    cdn.publish(**{"a.bin": BODY})
    fs = cdn.fs()
    fs.ls("")
    cdn.fault = status(416)
    with pytest.raises(wildcast.ReadError) as caught:
        fs.cat_file("a.bin", *bounds)
    assert "not satisfiable" not in str(caught.value)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("bounds", [(50, 60), (50, None)])
def test_a_page_in_the_place_of_a_part_is_not_empty(cdn, chunked, bounds):
    """A whole answer that ends before the part is an error, of which nothing is cut out."""

    async def page():
        yield b"<html>"

    answer = {True: lambda: StreamingResponse(page()), False: lambda: Response(b"<html>")}[chunked]
    cdn.fault = lambda path, _: answer() if path == "a.bin" else None
    with pytest.raises(wildcast.RangeNotSatisfiableError) as caught:
        cdn.fs().cat_file("a.bin", *bounds)
    assert "not satisfiable" not in str(caught.value)


def test_a_path_cannot_smuggle_words_into_an_error(cdn):
    """A file whose name holds zarr's words does not make a refusal read as empty."""
    cdn.fault = lambda *_: Response("no", 403)
    with pytest.raises(wildcast.AccessRefusedError) as caught:
        cdn.fs().cat_file("not satisfiable")
    assert "not satisfiable" not in str(caught.value)


def test_a_manifest_cannot_smuggle_words_into_an_error(cdn):
    """Neither can a path in a manifest that is damaged."""
    row = FileRow("not satisfiable//x", 1, "", "", "")
    cdn.objects.update({"a.bin": BODY, MANIFEST_PATH: encode_manifest(cdn.manifest_of([row]))})
    with pytest.raises(wildcast.DamagedManifestError, match="not-satisfiable//x"):
        cdn.fs().cat_file("a.bin")


def test_a_header_cannot_smuggle_words_into_an_error(cdn):
    """Neither can a header that an error repeats."""
    cdn.fault = lambda *_: Response(BODY, headers={"Content-Encoding": "not satisfiable"})
    with pytest.raises(wildcast.TransferBrokenError, match="not-satisfiable"):
        cdn.fs().cat_file("a.bin")


def test_a_file_is_read_by_cached_blocks(cdn):
    """An opened file seeks and reads, and asks for each block once."""
    cdn.publish(**{"a.bin": BODY})
    with cdn.fs().open("a.bin", block_size=1000) as file:
        file.seek(500)
        assert file.read(20) == BODY[500:520]
        assert file.read(20) == BODY[520:540]
        file.seek(-3, 2)
        assert file.read() == BODY[-3:]
    assert cdn.asked("a.bin") == 2


def test_writing_is_refused(cdn):
    """A result cannot be written through its URL."""
    fs = cdn.fs()
    with pytest.raises(wildcast.ReadOnlyError):
        fs.pipe_file("a", b"1")
    with pytest.raises(wildcast.ReadOnlyError):
        fs.open("a", "wb")
    with pytest.raises(wildcast.ReadOnlyError):
        fs.rm("a")


def test_a_download_is_whole_or_not_there(cdn, tmp_path):
    """A download that breaks off leaves neither the file nor a rest of it."""
    cdn.fault = cut_short
    with pytest.raises(wildcast.TransferBrokenError):
        cdn.fs().get_file("a.bin", str(tmp_path / "a.bin"))
    assert list(tmp_path.iterdir()) == []


def test_a_download_goes_on_where_it_broke_off(cdn, tmp_path):
    """The second attempt asks for the rest, on condition that the file is the same."""
    cdn.objects["a.bin"] = BODY

    def break_once(path, request):
        if path != "a.bin" or cdn.asked(path) > 1:
            return None
        answer = cut_short(path, request)
        answer.headers["ETag"] = etag_of(BODY)
        return answer

    cdn.fault = break_once
    cdn.fs().get_file("a.bin", str(tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [wanted for _, path, wanted in cdn.requests if path == "a.bin"] == [None, "bytes=100-"]


def test_a_download_begins_again_if_the_file_has_changed(cdn, tmp_path):
    """A rest that belongs to another file is not appended."""
    cdn.objects["a.bin"] = bytes(reversed(BODY))

    def break_once(path, request):
        if path != "a.bin" or cdn.asked(path) > 1:
            return None
        answer = cut_short(path, request)
        answer.headers["ETag"] = '"another"'
        return answer

    cdn.fault = break_once
    cdn.fs().get_file("a.bin", str(tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == bytes(reversed(BODY))


def test_a_directory_is_downloaded(cdn, tmp_path):
    """A recursive get of fsspec works from the manifest."""
    cdn.publish(**{"s.zarr/c/0": b"12", "s.zarr/zarr.json": b"{}"})
    cdn.fs().get("s.zarr", str(tmp_path / "copy"), recursive=True)
    assert (tmp_path / "copy" / "c" / "0").read_bytes() == b"12"


def test_pickling_keeps_the_url(cdn):
    """Another process reads with the same signature, which is what dask needs."""
    cdn.objects["a.bin"] = BODY
    copy = pickle.loads(pickle.dumps(cdn.fs()))  # noqa: S301 - our own bytes
    assert copy.cat_file("a.bin") == BODY


def test_the_token_does_not_depend_on_the_signature(cdn):
    """Two URLs of one prefix make equal filesystems, so dask's names are stable across renewal."""
    one, other = (wildcast.SignedFileSystem(cdn.signed(signature=text)) for text in ("aa", "bb"))
    assert one == other
    assert hash(one) == hash(other)
    assert one.__dask_tokenize__() == other.__dask_tokenize__()


def test_a_mappings_token_does_not_depend_on_the_signature(cdn):
    """Nor on what was read through it, nor does a copy in another process have another."""
    tokenize = pytest.importorskip("dask.base").tokenize
    cdn.publish(**{"s.zarr/a.bin": BODY})
    cdn.accepted = {"aa", "bb"}
    one, other = (wildcast.create_cloudfront_mapper(cdn.signed(signature=text), "s.zarr") for text in ("aa", "bb"))
    assert other["a.bin"] == BODY
    mappings = [one, other, pickle.loads(pickle.dumps(other)), other.fs.get_mapper("s.zarr")]  # noqa: S301 - our own
    assert len({tokenize(mapping) for mapping in mappings}) == 1
    assert tokenize(one) != tokenize(wildcast.create_cloudfront_mapper(cdn.signed(signature="aa"), "t.zarr"))


def test_no_signature_in_what_is_shown(cdn):
    """Neither repr, token, JSON nor an error holds the signature."""
    fs = cdn.fs()
    cdn.fault = lambda *_: Response("no", 403)
    with pytest.raises(wildcast.AccessRefusedError) as caught:
        fs.cat_file("a.bin")
    source = fs._source
    texts = [repr(fs), fs.to_json(), str(fs._fs_token), repr(caught.value), repr(source), repr(source.current())]
    assert not [text for text in texts if cdn.signature in text]


@pytest.mark.parametrize("fault", [cut_short, status(503), status(302)])
def test_no_signature_in_a_chain_of_errors(cdn, fault):
    """The errors behind an error do not hold the signature either."""
    cdn.fault = fault
    with pytest.raises(wildcast.ReadError) as caught:
        cdn.fs().cat_file("a.bin")
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_protocol_can_be_registered(cdn):
    """Under fsspec's registry a URL with the protocol opens, given the signed URL as an option."""
    cdn.objects["s/a.bin"] = BODY
    fsspec.register_implementation("wildcast", wildcast.SignedFileSystem, clobber=True)
    with fsspec.open("wildcast://s/a.bin", source=cdn.signed()) as file:
        assert file.read() == BODY
