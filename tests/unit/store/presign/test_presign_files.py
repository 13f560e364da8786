"""Files in place of presigned URLs."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from wildcast_server.errors import (
    MultipartError,
    StoreIoError,
)
from wildcast_server.store import PresignedUrl, Presigner, open_presigner, open_store

HOUR = timedelta(hours=1)


def path_of(signed: PresignedUrl) -> Path:
    return Path(unquote(urlsplit(signed.url).path))


@pytest.fixture
def files(tmp_path: Path) -> Presigner:
    """Hands out files of an empty directory."""
    return open_presigner((tmp_path / "of a store").as_uri())


@pytest.mark.parametrize("key", ["plain", "a b/ü%20/図"])
def test_a_files_url_is_its_path(files, key):
    """What is written at the one is found at the other, and by the store; it never ends."""
    signed = files.presign_put(key, HOUR)
    path_of(signed).write_bytes(b"body")
    assert path_of(files.presign_get(key, HOUR)).read_bytes() == b"body"
    assert open_store(files.uri).get(key) == b"body"
    assert signed.expires_at is None


def test_parts_of_a_file_are_joined_in_order_and_nobody_lists_them(files):
    """Until it is complete there is no object; afterwards there is nothing else."""
    upload = files.create_multipart("deep/k")
    store = open_store(files.uri)
    for number, body in {2: b"second", 1: b"first ", 10: b" third"}.items():
        path_of(files.presign_part("deep/k", upload, number, HOUR)).write_bytes(body)
    assert list(store.list()) == []
    etag = files.complete_multipart("deep/k", upload, {10: "", 1: "", 2: ""})
    assert etag == store.head("deep/k").etag
    assert store.get("deep/k") == b"first second third"
    assert [path.name for path in path_of(files.presign_get("deep/k", 1)).parent.iterdir()] == ["k"]


def test_a_missing_part_makes_no_file(files):
    """The error says which; what is there stays, for another try."""
    upload = files.create_multipart("k")
    path_of(files.presign_part("k", upload, 1, HOUR)).write_bytes(b"1")
    with pytest.raises(MultipartError, match="part 2"):
        files.complete_multipart("k", upload, {1: "", 2: ""})
    path_of(files.presign_part("k", upload, 2, HOUR)).write_bytes(b"2")
    files.complete_multipart("k", upload, {1: "", 2: ""})
    assert open_store(files.uri).get("k") == b"12"


def test_aborting_removes_the_parts_of_that_upload_alone(files):
    """Another upload of the same key goes on."""
    kept, given_up = files.create_multipart("k"), files.create_multipart("k")
    for upload in (kept, given_up):
        path_of(files.presign_part("k", upload, 1, HOUR)).write_bytes(b"1")
    files.abort_multipart("k", given_up)
    files.abort_multipart("k", given_up)
    with pytest.raises(MultipartError):
        files.complete_multipart("k", given_up, {1: ""})
    files.complete_multipart("k", kept, {1: ""})


@pytest.mark.parametrize("upload", ["", "../../x", "1" * 14, "\u0661" * 15, "a" * 15])
def test_only_ids_of_ours_name_a_files_upload(files, upload):
    """An id never becomes a path."""
    with pytest.raises(MultipartError, match="no such upload"):
        files.presign_part("k", upload, 1, HOUR)


def test_a_file_in_the_way_of_a_directory_is_told(files):
    """As an error of the store, with the URI."""
    path_of(files.presign_put("a", HOUR)).write_bytes(b"")
    with pytest.raises(StoreIoError) as caught:
        files.presign_put("a/b", HOUR)
    assert caught.value.uri == f"{files.uri}/a/b"
