"""S3's requests and answers as plain values, for the clients that are given no more than HTTP.

Signed as AWS wants it (AWS General Reference, "Signature Version 4") by the AWS Common Runtime.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree as ET

from wildcast_server.errors import NetworkError
from wildcast_server.store._errors import Action, refused
from wildcast_server.store._s3_site import S3Site
from wildcast_server.store.base import ObjectAttributes

if TYPE_CHECKING:
    from awscrt.auth import AwsCredentialsProvider, AwsSigningConfig
    from awscrt.http import HttpRequest

UNSIGNED = "UNSIGNED-PAYLOAD"
"""In place of a body's SHA-256."""

_SUCCESS = range(200, 300)
_BODILESS = {204, 304}

CUT = "its answer was cut off"


@dataclass(frozen=True)
class Request:
    """What S3 is asked."""

    operation: str
    """As S3 names it."""
    method: str
    path: str = ""
    """Of the object in the bucket; empty for the bucket itself."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Answer:
    """What S3 said."""

    status: int
    headers: Mapping[str, str]
    """With their names in lower case."""
    body: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        """Whether the request was done; a failure can come as 200 too, with an error for a body."""
        return self.status in _SUCCESS and b"<Error>" not in self.body.lstrip()[:300]

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode("utf-8", "replace")

    @property
    def is_cut(self) -> bool:
        """Whether the headers ended before the one that gives the body's length; Python's client takes that for all."""
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        return not framed and self.status not in _BODILESS

    def check(self, uri: str, action: Action) -> "Answer":
        """Return this, or raise what it means."""
        if self.is_success:
            return self
        # An error that was announced as a success may pass (Amazon S3 API Reference, "CompleteMultipartUpload").
        raise refused(500 if self.status in _SUCCESS else self.status, self.text, uri, action)


def target(site: S3Site, request: Request) -> str:
    """Return the path and query of a request, percent-encoded."""
    base = urlsplit(site.url).path.rstrip("/")
    inside = f"/{quote(request.path, safe='/~')}"
    path = base + inside if site.virtual else f"{base}/{site.bucket}{inside if request.path else ''}"
    query = urlencode(request.query, quote_via=quote, safe="~")
    return f"{path}?{query}" if query else path


def http_request(site: S3Site, request: Request) -> "HttpRequest":
    """Return a request as the AWS Common Runtime takes it."""
    from awscrt.http import HttpHeaders, HttpRequest

    headers = HttpHeaders([("Host", urlsplit(site.url).netloc), *request.headers.items()])
    if request.body or request.method in ("PUT", "POST"):
        headers.add("Content-Length", str(len(request.body)))
    return HttpRequest(request.method, target(site, request), headers, BytesIO(request.body))


def signing(site: S3Site, request: Request, provider: "AwsCredentialsProvider") -> "AwsSigningConfig":
    """Return how a request is signed."""
    from awscrt.auth import AwsSignedBodyHeaderType, AwsSigningConfig

    return AwsSigningConfig(
        credentials_provider=provider,
        region=site.options.region,
        service="s3",
        use_double_uri_encode=False,
        should_normalize_uri_path=False,
        signed_body_value=hashlib.sha256(request.body).hexdigest() if site.signs_bodies else UNSIGNED,
        signed_body_header_type=AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
    )


def object_headers(site: S3Site, attributes: ObjectAttributes | None) -> dict[str, str]:
    """Return the headers of an object that is about to be written."""
    options, given = site.options, attributes or ObjectAttributes()
    named = {
        "Content-Type": given.content_type,
        "Cache-Control": given.cache_control,
        "x-amz-storage-class": options.storage_class,
        "x-amz-server-side-encryption": options.sse,
        "x-amz-server-side-encryption-aws-kms-key-id": options.sse_kms_key_id,
        "x-amz-tagging": urlencode(options.tags, quote_via=quote) or None,
    }
    return {name: value for name, value in named.items() if value is not None}


def completion(parts: Iterable[tuple[int, str, str | None]]) -> bytes:
    """Return the list of an upload's parts: number, ETag as it came, CRC64NVME in base64 if one was sent.

    Amazon S3 API Reference, "CompleteMultipartUpload"; Google's XML API takes the same.
    """
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag>"
        f"{f'<ChecksumCRC64NVME>{checksum}</ChecksumCRC64NVME>' if checksum else ''}</Part>"
        for number, etag, checksum in parts
    )
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<CompleteMultipartUpload xmlns="{space}">{rows}</CompleteMultipartUpload>'.encode()


def parse(answer: Answer, uri: str) -> ET.Element:
    """Return the XML of an answer, with plain names.

    Raises
    ------
    NetworkError
        If it is none, or one that declares a document type: S3's never does, and entities can be made to explode.
    """
    try:
        if b"<!DOCTYPE" in answer.body or b"<!ENTITY" in answer.body:
            raise NetworkError(f"the answer about {uri} declares a document type, which S3's never does", uri)
        root = ET.fromstring(answer.body)  # noqa: S314 - without a document type there are no entities
    except ET.ParseError as error:
        raise NetworkError(f"the answer about {uri} is no XML: {error}", uri) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def text_of(element: ET.Element, name: str) -> str:
    """Return the text of a child, or nothing."""
    return (element.findtext(name) or "").strip()
