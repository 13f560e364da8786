"""Compressed answers, where the client takes them (RFC 9110 §12.5.3): zstd (RFC 8878) or gzip (RFC 1952).

Only answers that are made as `CompressibleResponse` are ever compressed: the API's JSON and its pages. Files, ranges
and archives are sent as they lie, with the length and the checksum that their readers expect.
"""

import asyncio
import gzip
import re
from collections.abc import Mapping
from typing import Literal

import zstandard
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Coding = Literal["zstd", "gzip", "identity"]

PREFERENCE: tuple[Coding, ...] = ("zstd", "gzip", "identity")
"""Between codings that the client likes equally well."""

MIN_BYTES = 1024
"""A smaller body fits into a packet or two anyway."""

MAX_INLINE_BYTES = 65_536
"""A longer body is compressed in a thread, while the event loop goes on."""

ZSTD_LEVEL = 3
GZIP_LEVEL = 3
"""Measured on the metadata of 100,000 files (9 MB): level 6 takes three times as long for a tenth fewer bytes."""

_ELEMENT = re.compile(r"\s*([A-Za-z0-9*!#$%&'+.^_`|~-]+)\s*(?:;\s*[qQ]\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*)?")


def choose_coding(accept_encoding: str) -> Coding:
    """Say how to send a body to a client with this ``Accept-Encoding``, which is empty if it sent none.

    ``identity`` is always acceptable here: an answer that the client would rather not have is better than 406. Elements
    that cannot be read are passed over.
    """
    wishes = _wishes(accept_encoding)
    any_other = wishes.get("*", 0.0)
    # Named by nobody, identity is what is sent where nothing else is liked at all.
    liking = {coding: wishes.get(coding, any_other) for coding in PREFERENCE[:-1]}
    liking["identity"] = wishes.get("identity", 0.0)
    best = max(PREFERENCE, key=lambda coding: liking[coding])
    return best if liking[best] > 0 else "identity"


def _wishes(header: str) -> dict[str, float]:
    elements = (_ELEMENT.fullmatch(element) for element in header.split(","))
    # x-gzip is gzip's old name (RFC 9110 §8.4.1.3).
    return {match[1].lower().removeprefix("x-"): float(match[2] or 1) for match in elements if match}


def compress(body: bytes, coding: Coding) -> bytes:
    """Encode a body; the same bytes for the same body."""
    match coding:
        case "zstd":
            return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(body)
        case "gzip":
            return gzip.compress(body, GZIP_LEVEL, mtime=0)
        case "identity":
            return body


class CompressibleResponse(Response):
    """A whole body that may be sent compressed; a HEAD has the headers of the GET."""

    def __init__(
        self,
        content: bytes,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        super().__init__(content, status_code, {"Vary": "Accept-Encoding", **(headers or {})}, media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it as the request's ``Accept-Encoding`` wants it."""
        body = bytes(self.body)
        # A field that may be sent in several lines (RFC 9110 §5.3).
        accepted = ", ".join(Headers(scope=scope).getlist("accept-encoding"))
        coding = "identity" if len(body) < MIN_BYTES else choose_coding(accepted)
        if coding != "identity":
            if len(body) > MAX_INLINE_BYTES:
                # The loop's own threads: no other work waits in them that could hold this up.
                body = await asyncio.get_running_loop().run_in_executor(None, compress, body, coding)
            else:
                body = compress(body, coding)
            self.body = body
            self.headers["Content-Encoding"] = coding
            self.headers["Content-Length"] = str(len(body))
        await super().__call__(scope, receive, send)
