"""HTTP/1.1 as S3's clients speak it, on a protocol that receives every body into one buffer."""

import asyncio
from collections.abc import Callable
from typing import cast

from .bodies import TAIL, Keeping
from .control import PREFIX, control
from .messages import Answer, Head, RefusedError
from .service import S3

BUFFER = 1 << 18
_END = b"\r\n\r\n"
_NOTHING = Keeping(all=False)


class Connection(asyncio.BufferedProtocol):
    """One client's connection.

    Parameters
    ----------
    s3
        Answers.
    delay
        Seconds between the end of a request and its answer.
    loop
        The event loop.
    """

    def __init__(self, s3: S3, delay: float, loop: asyncio.AbstractEventLoop) -> None:
        self._s3, self._delay, self._loop = s3, delay, loop
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._pending = b""
        self._head: Head | None = None
        self._length = self._left = 0
        self._keeping = _NOTHING
        self._body: bytearray | None = None
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """Give the next bytes a place."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Take in what came."""
        at = 0
        while at < nbytes:
            if self._left:
                taken = min(self._left, nbytes - at)
                self._take(self._view[at : at + taken])
                at += taken
            else:
                at = self._take_head(at, nbytes)

    def _take_head(self, at: int, nbytes: int) -> int:
        """Begin the request whose head ends in the buffer, if one does; return where its body begins."""
        if not self._pending:
            end = self._buffer.find(_END, at, nbytes)
            if end >= 0:
                self._begin(Head(bytes(self._view[at : end + 2])))
                return end + len(_END)
        joined = self._pending + bytes(self._view[at:nbytes])
        end = joined.find(_END)
        if end < 0:
            self._pending = joined
            return nbytes
        at += end + len(_END) - len(self._pending)
        self._pending = b""
        self._begin(Head(joined[: end + 2]))
        return at

    def _begin(self, head: Head) -> None:
        self._head = head
        if head.get(b"transfer-encoding"):
            self._answer(RefusedError(411, "MissingContentLength").answer())
            self._transport.close()
            return
        self._length = self._left = int(head.get(b"content-length") or 0)
        if not self._left:
            self._body = None
            self._tail = b""
            self._done()
            return
        self._keeping = self._s3.bodies.keeping(head, self._left)
        self._body = bytearray() if self._keeping.all else None
        self._tail = b""
        if head.get(b"expect"):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _take(self, data: memoryview) -> None:
        if self._body is not None:
            self._body += data
        elif self._keeping.tail:
            self._tail = (self._tail + bytes(data[-TAIL:]))[-TAIL:]
        self._left -= len(data)
        if not self._left:
            self._done()

    def _done(self) -> None:
        head = self._head
        if head is None:
            return
        if head.target.startswith(PREFIX):
            self._answer(control(self._s3, head))
            return
        body = bytearray() if self._length == 0 else self._body
        size = int(head.get(b"x-amz-decoded-content-length") or self._length)
        answer = self._s3.answer(head, size, body, self._tail)
        self._body = None
        if self._delay:
            self._loop.call_later(self._delay, self._answer, answer)
        else:
            self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        if self._transport.is_closing():
            return
        lines = [f"HTTP/1.1 {answer.status} X", *answer.headers]
        if answer.status != 204:  # noqa: PLR2004 - the one answer that has no length
            lines.append(f"Content-Length: {len(answer.body) if answer.length is None else answer.length}")
        lines.append("x-amz-request-id: 0\r\n\r\n")
        head = "\r\n".join(lines).encode("latin-1")
        if len(answer.body) < BUFFER:
            self._transport.write(head + answer.body)
        else:
            self._transport.write(head)
            self._transport.write(answer.body)


async def listen(
    s3: S3,
    *,
    port: int,
    delay: float,
    ready: Callable[[int], None],
    stop: asyncio.Event,
) -> None:
    """Serve on 127.0.0.1 until `stop` is set; call `ready` with the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(s3, delay, loop), "127.0.0.1", port, backlog=4096)
    ready(server.sockets[0].getsockname()[1])
    await stop.wait()
    server.close()
