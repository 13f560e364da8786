"""Which version of a file is right, and who has refused: what the manifest and the answers' heads tell."""

import pytest
from msgspec import structs
from starlette.responses import Response

import wildcast
from wildcast._listing import Listing, version_of
from wildcast._parts import PART
from wildcast.contract.manifest import FileRow, decode_manifest, encode_manifest
from wildcast.contract.naming import MANIFEST_PATH

BODY = bytes(range(256)) * 10
OTHER = bytes(reversed(BODY))
S3_BODY = "<Error><Code>AccessDenied</Code><RequestId>R</RequestId><HostId>H</HostId></Error>"


def answer(body, etag, path="a.bin"):
    """Serve a body under an ETag, whole or the part that is asked for."""

    def fault(asked, request):
        if asked != path:
            return None
        headers = {"ETag": etag} if etag else {}
        if "range" not in request.headers:
            return Response(body, headers=headers)
        first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
        part = {"Content-Range": f"bytes {first}-{last}/{len(body)}"}
        return Response(body[int(first) : int(last) + 1], 206, headers=headers | part)

    return fault


@pytest.mark.parametrize("form", ['"{}"', "{}", 'W/"{}"', ' W/"{}" '])
def test_an_etag_is_the_same_in_all_its_forms(form):
    """Quoted, bare, or made weak by a CDN that compresses."""
    tag = "d41d8cd98f00b204e9800998ecf8427e-7"
    assert version_of(form.format(tag)) == version_of(f'"{tag}"') != version_of('"another"')
    assert version_of(None) == version_of('""') == 0


@pytest.mark.parametrize("etag", ['"another"', 'W/"another"', "another"])
def test_a_part_of_another_version_is_refused(cdn, etag):
    """A range of the right size and another ETag is stale, however that is written."""
    cdn.publish(**{"a.bin": BODY})
    cdn.fault = answer(OTHER, etag)
    with pytest.raises(wildcast.StaleObjectError, match="ETag"):
        cdn.fs().cat_file("a.bin", 10, 20)


@pytest.mark.parametrize("etag", ['"another"', None])
def test_a_whole_file_is_known_by_its_checksum(cdn, etag):
    """The right bytes are right under any ETag, as in a store that was copied; wrong ones are not."""
    cdn.publish(**{"a.bin": BODY})
    cdn.fault = answer(BODY, etag)
    assert cdn.fs().cat_file("a.bin") == BODY
    cdn.fault = answer(OTHER, etag)
    with pytest.raises(wildcast.StaleObjectError, match="checksum"):
        cdn.fs().cat_file("a.bin")


def relabel(cdn, etag):
    """Write into the manifest the ETags of a store that the objects are not in any more."""
    manifest = decode_manifest(cdn.objects[MANIFEST_PATH])
    rows = tuple(structs.replace(row, etag=etag.format(row.size)) for row in manifest.rows)
    cdn.objects[MANIFEST_PATH] = encode_manifest(structs.replace(manifest, rows=rows))


@pytest.mark.parametrize("etag", ["", '"264031-6612ae5056f36-{:x}"'], ids=["none", "of an inode"])
def test_a_part_whose_etag_the_manifest_does_not_tell_is_held_to_the_first(cdn, etag):
    """What was restored has other inodes: its parts are read, until the file is replaced."""
    cdn.publish(**{"a.bin": BODY})
    relabel(cdn, etag)
    fs = cdn.fs()
    assert fs.cat_file("a.bin", 10, 20) == BODY[10:20]
    opened = fs.open("a.bin", block_size=1000)
    assert opened.read(10) == BODY[:10]
    cdn.objects["a.bin"] = OTHER
    with pytest.raises(wildcast.StaleObjectError, match="replaced"):
        fs.cat_file("a.bin", 10, 20)
    with pytest.raises(wildcast.StaleObjectError, match="replaced"):
        opened.read()


def test_a_file_that_is_replaced_between_opening_and_reading_is_another(cdn):
    """It keeps the ETag that it had when it was opened, also where the manifest tells none."""
    cdn.publish(**{"a.bin": BODY})
    relabel(cdn, "")
    opened = cdn.fs().open("a.bin", block_size=1000)
    cdn.objects["a.bin"] = OTHER
    with pytest.raises(wildcast.StaleObjectError, match="replaced"):
        opened.read(10)


def test_a_large_file_is_known_by_its_checksum(server, tmp_path):
    """It arrives in parts, also from a store that was copied and has other ETags."""
    body = BODY * (2 * PART // len(BODY) + 1)
    server.cdn.publish(**{"a.bin": body})
    relabel(server.cdn, '"of-another-store"')
    server.result().download(tmp_path, "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == body


def test_parts_of_two_versions_make_no_file(server, tmp_path, monkeypatch):
    """Once a part has come with the manifest's ETag, one of another ETag is asked for again."""
    body = BODY * (2 * PART // len(BODY) + 1)
    server.cdn.publish(**{"a.bin": body})
    stale, asked = answer(body[::-1], '"another"', "a.bin"), []

    def fault(path, request):
        if path != "a.bin":
            return None
        asked.append(request.headers["range"])
        return stale(path, request) if len(asked) > 1 and asked.count(asked[-1]) == 1 else None

    server.cdn.fault = fault
    monkeypatch.setattr("wildcast._downloading.connections", lambda: 1)
    server.result().download(tmp_path, "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == body
    assert len(asked) > len(set(asked))


def test_a_stale_copy_that_passes_is_read_again(cdn):
    """A cache that has caught up meanwhile costs a repetition."""
    cdn.publish(**{"a.bin": BODY})
    stale = answer(OTHER, '"another"')
    cdn.fault = lambda path, request: stale(path, request) if cdn.asked("a.bin") < 2 else None
    assert cdn.fs().cat_file("a.bin") == BODY


@pytest.mark.parametrize("bounds", [(None, None), (3, 9)])
def test_what_the_api_lists_is_held_to_the_manifest_too(server, bounds):
    """A result knows sizes before it has the manifest; its first answer still waits for that."""
    server.cdn.publish(**{"a.bin": BODY})
    result = server.result()
    assert result.fs.cat_file("a.bin", *bounds) == BODY[slice(*bounds)]
    fresh = server.result()
    server.cdn.fault = answer(OTHER, '"another"')
    with pytest.raises(wildcast.StaleObjectError):
        fresh.fs.cat_file("a.bin", *bounds)


def test_a_manifest_that_cannot_be_read_stops_the_first_read(server):
    """Without it nothing says which version is right: that is an error, and no reason to believe any."""
    server.cdn.publish(**{"a.bin": BODY})
    result = server.result()
    server.cdn.fault = lambda path, _: Response("no", 503) if path == MANIFEST_PATH else None
    with pytest.raises(wildcast.StoreUnavailableError):
        result.fs.cat_file("a.bin")
    server.cdn.fault = None
    assert result.fs.cat_file("a.bin") == BODY


@pytest.mark.parametrize(("server_name", "body"), [("AmazonS3", "no"), ("CloudFront", S3_BODY)])
def test_a_refusal_of_the_store_is_told_from_the_cdns(cdn, server_name, body):
    """S3 names itself or its request; renewing would not help, and the sentence says what would."""
    cdn.publish(**{"a.bin": BODY})
    cdn.fault = lambda path, _: Response(body, 403, headers={"Server": server_name}) if path == "a.bin" else None
    with pytest.raises(wildcast.OriginRefusedError, match="s3:ListBucket") as caught:
        cdn.fs().cat_file("a.bin")
    assert (caught.value.status, cdn.asked("a.bin")) == (403, 1)


@pytest.fixture
def unlisted(cdn):
    """A prefix without manifest in a bucket that the CDN may not list: what is missing is refused by S3."""
    cdn.objects["a.bin"] = BODY
    cdn.fault = lambda path, _: None if path in cdn.objects else Response(S3_BODY, 403)
    return cdn


def test_what_is_there_is_read_without_manifest_and_listing(unlisted):
    """The store's refusal of the manifest stops nobody from reading what can be read, and is asked for once."""
    fs = unlisted.fs()
    assert [fs.cat_file("a.bin") for _ in range(3)] == [BODY] * 3
    assert unlisted.asked(MANIFEST_PATH) == 1


@pytest.mark.parametrize("ask", ["cat_file", "info", "exists", "ls", "find"])
def test_what_may_be_missing_or_forbidden_is_neither(unlisted, ask):
    """A refusal that leaves it open is never read as "not there", which zarr would fill up."""
    with pytest.raises(wildcast.OriginRefusedError):
        getattr(unlisted.fs(), ask)("b.bin")


def test_a_404_beside_a_refused_manifest_is_an_error(unlisted):
    """Who may list the bucket gets 404 for the manifest as well; this one is forbidden, and so not known."""
    fs = unlisted.fs()
    fs.cat_file("a.bin")
    unlisted.fault = lambda path, _: Response(S3_BODY, 403) if path == MANIFEST_PATH else None
    with pytest.raises(wildcast.OriginRefusedError):
        fs.cat_file("b.bin")


def test_a_million_files_take_little_memory():
    """Beside its path a file takes a few dozen bytes, with checksum and ETag."""
    rows = [FileRow(f"s.zarr/c/{n:06}", n, "AAAAAAAAAAE=", f'"{n:032x}"', "x") for n in range(10_000)]
    listing = Listing.of_rows(rows)
    arrays = (listing._sizes, listing._versions, listing._crcs)
    assert sum(array.itemsize * len(array) for array in arrays) == 24 * len(rows)
    expected = listing.expected("s.zarr/c/000007")
    assert (expected.size, expected.crc, expected.version) == (7, 1, version_of(rows[7].etag))
