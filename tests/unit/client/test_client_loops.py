"""The signed filesystem in event loops: the user's, fsspec's and many readers' at once."""

import asyncio
import gc
import warnings

from starlette.responses import StreamingResponse

from wildcast.contract.naming import MANIFEST_PATH

BODY = bytes(range(256)) * 10


def test_the_filesystem_works_by_its_class_in_a_users_loop(cdn):
    """The asynchronous face works in any loop, and leaves nothing open when that loop ends."""
    cdn.objects["a.bin"] = BODY
    fs = cdn.fs()

    async def read_many():
        return await asyncio.gather(*(fs._cat_file("a.bin", i, i + 10) for i in range(100)))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            parts = asyncio.run(read_many())
            gc.collect()
    assert parts == [BODY[i : i + 10] for i in range(100)]


def test_the_synchronous_face_works_inside_a_running_loop(cdn):
    """A notebook, whose cells run in a loop, can call the ordinary methods."""
    cdn.objects["a.bin"] = BODY

    async def cell():
        return cdn.fs().cat_file("a.bin")

    assert asyncio.run(cell()) == BODY


def test_at_most_64_requests_are_in_flight(cdn):
    """The connection limit bounds what all readers of a loop ask for at once."""
    flying, most = 0, 0

    async def slow():
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.02)
        yield b"x"
        flying -= 1

    cdn.publish(**{f"{number}": b"x" for number in range(200)})
    cdn.fault = lambda path, _: (
        None if path == MANIFEST_PATH else StreamingResponse(slow(), headers={"Content-Length": "1"})
    )
    cdn.fs().cat([f"{i}" for i in range(200)], batch_size=200)
    assert 32 < most <= 64
