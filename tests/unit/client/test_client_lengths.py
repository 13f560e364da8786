"""Bodies that are longer than they may be, or end in another way than they should."""

import asyncio

import pytest
from starlette.responses import StreamingResponse

import wildcast
from wildcast.contract.naming import MANIFEST_PATH

BODY = bytes(range(256)) * 5000  # more than is kept in memory until it is whole
ENDLESS = 64 << 20
ETAG = {"ETag": '"another"'}


class Flood:
    """A body in chunks that goes on long behind the file's end; `sent` says how far each has come."""

    def __init__(self) -> None:
        self.sent = []

    async def body(self):
        number = len(self.sent)
        self.sent.append(0)
        while self.sent[number] < ENDLESS:
            self.sent[number] += 1 << 16
            yield bytes(1 << 16)
            await asyncio.sleep(0)  # Here it is ended once nobody reads it.

    def answer(self, path, request):
        if path == MANIFEST_PATH:
            return None
        if "range" in request.headers:
            return StreamingResponse(self.body(), 206, headers={"Content-Range": f"bytes 0-9/{len(BODY)}"})
        return StreamingResponse(self.body(), headers=ETAG)


WAYS = {
    "whole": lambda fs, _: fs.cat_file("a.bin"),
    "part": lambda fs, _: fs.cat_file("a.bin", 0, 10),
    "copy": lambda fs, directory: fs.get_file("a.bin", str(directory / "a.bin")),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_body_without_end_is_left_at_the_files_own(cdn, tmp_path, way):
    """Neither memory nor disk take more than the manifest says that there is, however often it is tried."""
    cdn.publish(**{"a.bin": BODY})
    flood = Flood()
    cdn.fault = flood.answer
    with pytest.raises(wildcast.TransferBrokenError, match=r"More than the (1280000|10) bytes of 'a.bin'"):
        WAYS[way](cdn.fs(), tmp_path)
    assert len(flood.sent) == 3
    assert max(flood.sent) < ENDLESS / 2
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_has_grown_does_not_look_like_a_range_that_is_none(cdn, tmp_path):
    """What arrived of another version is no beginning of this one: the next try does not ask for the rest of it."""
    cdn.publish(**{"a.bin": BODY})
    cdn.objects["a.bin"] = BODY + b"more"

    async def chunks():
        yield BODY + b"more"

    cdn.fault = lambda path, request: (
        StreamingResponse(chunks(), headers=ETAG) if path == "a.bin" and "range" not in request.headers else None
    )
    with pytest.raises(wildcast.TransferBrokenError, match="More than the 1280000 bytes"):
        cdn.fs().get_file("a.bin", str(tmp_path / "a.bin"))
    assert {wanted for _, path, wanted in cdn.requests if path == "a.bin"} == {None}


def test_a_body_that_breaks_off_behind_its_last_byte_is_read_again(cdn, tmp_path):
    """There is no rest to ask for: that would be a range behind the end."""
    cdn.publish(**{"a.bin": BODY})

    async def broken():
        yield BODY
        # Who aborts a connection throws away what has not been taken from it yet.
        seen, still = [], 0
        while still < 30:
            await asyncio.sleep(0.01)
            sizes = [path.stat().st_size for path in tmp_path.iterdir()]
            still = still + 1 if sizes == seen and sum(sizes) else 0
            seen = sizes
        raise ConnectionAbortedError

    cdn.fault = lambda path, _: (
        StreamingResponse(broken(), headers=ETAG) if path == "a.bin" and cdn.asked(path) == 1 else None
    )
    cdn.fs().get_file("a.bin", str(tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [wanted for _, path, wanted in cdn.requests if path == "a.bin"] == [None, None]
