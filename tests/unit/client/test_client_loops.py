"""The signed filesystem in event loops: the user's, fsspec's and many readers' at once."""

import asyncio
import gc
import subprocess
import sys
import warnings
import weakref

import pytest
from starlette.responses import StreamingResponse

import wildcast
from wildcast._sessions import connections
from wildcast.contract.naming import MANIFEST_PATH

BODY = bytes(range(256)) * 10

FORK = """
import os
import wildcast

client = wildcast.Client({url!r})
client.workflows()
child = os.fork()
client.workflows()
if child:
    os.waitpid(child, 0)
    client.workflows()
client.close()
"""


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


def test_no_more_requests_are_in_flight_than_there_are_connections(cdn):
    """The connection limit bounds what all readers of a loop ask for at once."""
    flying, most = 0, 0

    async def slow():
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.02)
        yield b"x"
        flying -= 1

    cdn.publish(**{f"{number}": b"x" for number in range(300)})
    cdn.fault = lambda path, _: (
        None if path == MANIFEST_PATH else StreamingResponse(slow(), headers={"Content-Length": "1"})
    )
    cdn.fs().cat([f"{i}" for i in range(300)], batch_size=300)
    assert connections() // 2 < most <= connections()


async def read_a_file(cdn):
    assert await cdn.fs()._cat_file("a.bin") == BODY


async def ask_the_api(client):
    assert await client.workflows() == {"wf": "makes data"}


@pytest.mark.parametrize("ask", [read_a_file, ask_the_api])
def test_a_loop_that_has_ended_is_forgotten(cdn, server, ask):
    """With what was open in it, however many there are, although nobody has closed anything."""
    cdn.objects["a.bin"] = BODY
    one = cdn if ask is read_a_file else wildcast.AsyncClient(server.url)
    loops = []

    async def once():
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await ask(one)

    for _ in range(5):
        asyncio.run(once())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 5


def test_a_loop_that_was_closed_alone_is_forgotten_at_the_next_one(cdn):
    """Whoever closes a loop without its generators leaves what is open to the collector."""
    cdn.objects["a.bin"] = BODY
    loop = asyncio.new_event_loop()
    gone = weakref.ref(loop)
    loop.run_until_complete(read_a_file(cdn))
    loop.close()
    del loop
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(read_a_file(cdn))
        gc.collect()
    assert gone() is None


def test_clients_in_two_loops_at_once_keep_their_connections(server):
    """Neither loop takes away what the other one is using."""
    client = wildcast.AsyncClient(server.url)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        for runner in (one, other, one, other):
            runner.run(client.workflows())
        kept = [runner.run(_connections_of(client)) for runner in (one, other, one)]
    assert kept[0] is kept[2]
    assert kept[0] is not kept[1]
    assert all(connections.is_closed for connections in kept)


async def _connections_of(client):
    return client._api._driver._client()


def test_a_forked_child_has_connections_of_its_own(server):
    """On those of its parent, either would get the other's answers."""
    ports = []
    server.override = lambda request: ports.append(request.client.port)
    child = subprocess.run([sys.executable, "-c", FORK.format(url=server.url)], check=True, capture_output=True)
    assert child.stderr == b""
    # The parent's own, thrice, and the child's, whenever that came.
    assert len(ports) == 4
    assert sorted(ports.count(port) for port in set(ports)) == [1, 3]
