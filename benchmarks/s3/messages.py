"""Requests and answers, as far as S3 has anything to say about them."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

XML = "Content-Type: application/xml"


class RefusedError(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    status
        Of HTTP.
    code
        Of S3 (Amazon S3 API Reference, "Error responses").
    message
        For whoever reads it.
    """

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message or code

    def answer(self) -> "Answer":
        """Return what the client is told."""
        body = f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message></Error>"
        return Answer(self.status, [XML], body.encode())


@dataclass(slots=True)
class Answer:
    """What the client is told."""

    status: int
    headers: list[str]
    body: bytes | bytearray | memoryview = b""
    length: int | None = None
    """What Content-Length says where it is not the body's own length, as with HEAD."""


def xml(root: str, inner: str) -> Answer:
    """Answer with a document."""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    body = f'{head}<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{root}>'
    return Answer(200, [XML], body.encode())


class Head:
    """A request's line and headers, looked up where they lie: parsing them all would cost more than the rest.

    Parameters
    ----------
    raw
        From the method up to the last header's end of line.
    """

    __slots__ = ("_lower", "method", "raw", "target")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._lower = raw.lower()
        self.method, self.target, _ = raw[: raw.index(b"\r\n")].split(b" ", 2)

    def get(self, name: bytes) -> str | None:
        """Return the header `name`, in lower case here, or None."""
        found = self._lower.find(b"\r\n" + name + b":")
        if found < 0:
            return None
        begin = found + len(name) + 3
        return self.raw[begin : self.raw.index(b"\r\n", begin)].strip().decode("latin-1")

    def all(self) -> dict[str, str]:
        """Return every header, names in lower case."""
        lines = (line.partition(":") for line in self.raw.decode("latin-1").split("\r\n")[1:])
        return {name.strip().lower(): value.strip() for name, _, value in lines if name}


@dataclass(slots=True)
class Request:
    """One request."""

    head: Head
    bucket: str
    key: str
    query: Mapping[str, list[str]]
    size: int
    """Of the object or part in its body, in bytes."""
    body: bytes | bytearray | None
    """As it came, or None where it was thrown away."""
    tail: bytes = b""
    """The end of a body that was thrown away, in which trailers are."""

    def asked(self, name: str, default: str = "") -> str:
        """Return a parameter of the query."""
        values = self.query.get(name)
        return values[0] if values else default


def read_request(head: Head, size: int, body: bytes | bytearray | None, tail: bytes = b"") -> Request:
    """Understand a request whose URL has the bucket in its path."""
    path, _, query = head.target.decode("latin-1").partition("?")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    asked = parse_qs(query, keep_blank_values=True) if query else {}
    return Request(head, bucket, key, asked, size, body, tail)
