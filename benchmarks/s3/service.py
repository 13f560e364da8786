"""S3's operations on one bucket, as far as publishers and readers use them."""

import re
import time
from collections import Counter
from html import unescape
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from .access import Access
from .bodies import Bodies, encoded, kept_headers
from .contents import Contents, Stored, Upload
from .listings import Listings
from .messages import Answer, Head, RefusedError, Request, read_request, xml

if TYPE_CHECKING:
    from collections.abc import Callable

SMALLEST_PART = 5 << 20
"""Of all parts but the last, in bytes (Amazon S3 User Guide, "Multipart upload limits")."""
_PARTS = re.compile(rb"<Part>(.*?)</Part>", re.DOTALL)
_NUMBER = re.compile(rb"<PartNumber>\s*(\d+)\s*</PartNumber>")
_ETAG = re.compile(rb"<ETag>(.*?)</ETag>", re.DOTALL)
_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


class S3:
    """Does what requests ask for.

    Parameters
    ----------
    contents
        What is there.
    bodies
        What becomes of bodies.
    access
        Who may.
    """

    def __init__(self, contents: Contents, bodies: Bodies, access: Access) -> None:
        self.contents, self.bodies, self.access = contents, bodies, access
        self.by_method: Counter[bytes] = Counter()
        self.refused: Counter[str] = Counter()
        self._listings = Listings(contents)
        self._modified = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        self._methods: dict[bytes, Callable[[Request], Answer]] = {
            b"PUT": self._put,
            b"GET": self._get,
            b"HEAD": self._head,
            b"POST": self._post,
            b"DELETE": self._delete,
        }

    def answer(self, head: Head, size: int, body: bytearray | None, tail: bytes) -> Answer:
        """Do what one request asks for."""
        self.by_method[head.method] += 1
        try:
            request = read_request(head, size, body, tail)
            self.access.check(request)
            return self._methods[head.method](request)
        except RefusedError as refusal:
            self.refused[refusal.code] += 1
            answer = refusal.answer()
        except (KeyError, ValueError):
            self.refused["InvalidRequest"] += 1
            answer = RefusedError(400, "InvalidRequest").answer()
        return Answer(answer.status, [], length=0) if head.method == b"HEAD" else answer

    def _put(self, request: Request) -> Answer:
        if not request.key:
            return Answer(200, [f"Location: /{request.bucket}"])
        if "partNumber" in request.query:
            return self._put_part(request)
        self._check_condition(request)
        stored = self.bodies.receive(request)
        self.contents.put(request.key, stored)
        return Answer(200, [f"ETag: {stored.etag}", *_checksum_headers(stored)])

    def _put_part(self, request: Request) -> Answer:
        upload = self._upload(request)
        part = self.bodies.receive(request)
        upload.parts[int(request.asked("partNumber"))] = part
        return Answer(200, [f"ETag: {part.etag}"])

    def _post(self, request: Request) -> Answer:
        if "uploads" in request.query:
            return self._create(request)
        if "delete" in request.query:
            return self._delete_many(request)
        return self._complete(request)

    def _create(self, request: Request) -> Answer:
        upload = self.contents.begin(request.key, kept_headers(request.head))
        names = f"<Bucket>{escape(request.bucket)}</Bucket><Key>{escape(request.key)}</Key>"
        answer = xml("InitiateMultipartUploadResult", f"{names}<UploadId>{upload}</UploadId>")
        algorithm = request.head.get(b"x-amz-checksum-algorithm")
        if algorithm:
            answer.headers.append(f"x-amz-checksum-algorithm: {algorithm}")
        return answer

    def _complete(self, request: Request) -> Answer:
        upload = self._upload(request)
        self._check_condition(request)
        parts = self._named_parts(upload, bytes(request.body or b""))
        stored = self.bodies.join(parts, upload.headers)
        sent = request.head.get(b"x-amz-checksum-crc64nvme")
        if sent and (stored.crc is None or sent != encoded(stored.crc)):
            raise RefusedError(400, "BadDigest", "The CRC64NVME you specified did not match the calculated checksum.")
        del self.contents.uploads[request.asked("uploadId")]
        self.contents.put(upload.key, stored)
        crc = "" if stored.crc is None else f"<ChecksumCRC64NVME>{encoded(stored.crc)}</ChecksumCRC64NVME>"
        names = f"<Bucket>{escape(request.bucket)}</Bucket><Key>{escape(request.key)}</Key>"
        return xml("CompleteMultipartUploadResult", f"{names}<ETag>{escape(stored.etag)}</ETag>{crc}")

    def _named_parts(self, upload: Upload, body: bytes) -> list[Stored]:
        named = [(int(_first(_NUMBER, part)), unescape(_first(_ETAG, part))) for part in _PARTS.findall(body)]
        if not named:
            raise RefusedError(400, "MalformedXML")
        numbers = [number for number, _ in named]
        if any(second <= first for first, second in pairwise(numbers)):
            raise RefusedError(400, "InvalidPartOrder")
        parts = [self._part(upload, number, etag) for number, etag in named]
        if any(part.size < SMALLEST_PART for part in parts[:-1]):
            raise RefusedError(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        return parts

    def _part(self, upload: Upload, number: int, etag: str) -> Stored:
        part = upload.parts.get(number)
        exact = self.access.switches.exact_etags
        if part is None or etag not in ((part.etag,) if exact else (part.etag, part.etag.strip('"'))):
            raise RefusedError(400, "InvalidPart", f"One or more of the specified parts could not be found: {number}")
        return part

    def _upload(self, request: Request) -> Upload:
        upload = self.contents.uploads.get(request.asked("uploadId"))
        if upload is None or upload.key != request.key:
            raise RefusedError(404, "NoSuchUpload")
        return upload

    def _check_condition(self, request: Request) -> None:
        stored = self.contents.objects.get(request.key)
        if request.head.get(b"if-none-match") == "*" and stored is not None:
            raise RefusedError(412, "PreconditionFailed")
        wanted = request.head.get(b"if-match")
        if wanted is None:
            return
        if stored is None:
            raise RefusedError(404, "NoSuchKey")
        if wanted.strip('"') != stored.etag.strip('"'):
            raise RefusedError(412, "PreconditionFailed")

    def _delete(self, request: Request) -> Answer:
        if "uploadId" in request.query:
            self._upload(request)
            del self.contents.uploads[request.asked("uploadId")]
        else:
            self.contents.remove(request.key)
        return Answer(204, [])

    def _delete_many(self, request: Request) -> Answer:
        keys = [unescape(key.decode()) for key in _KEY.findall(bytes(request.body or b""))]
        for key in keys:
            self.contents.remove(key)
        return xml("DeleteResult", "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys))

    def _get(self, request: Request) -> Answer:
        if request.key:
            return self._listings.parts(request) if "uploadId" in request.query else self._read(request)
        if not request.bucket:
            return xml("ListAllMyBucketsResult", "<Buckets/>")
        if "uploads" in request.query:
            return self._listings.uploads(request)
        if "location" in request.query:
            return xml("LocationConstraint", "")
        return self._listings.objects(request)

    def _head(self, request: Request) -> Answer:
        if not request.key:
            return Answer(200, [], length=0)
        return self._read(request)

    def _read(self, request: Request) -> Answer:
        stored = self.contents.objects.get(request.key)
        if stored is None:
            raise RefusedError(404, "NoSuchKey", "The specified key does not exist.")
        headers = [f"ETag: {stored.etag}", f"Last-Modified: {self._modified}", "Accept-Ranges: bytes", *stored.headers]
        asked = _RANGE.match(request.head.get(b"range") or "")
        if asked is not None:
            start, stop = _resolve(asked[1], asked[2], stored.size)
            headers.append(f"Content-Range: bytes {start}-{stop - 1}/{stored.size}")
            return Answer(206, headers, _bytes(request, stored, start, stop), length=stop - start)
        if (request.head.get(b"x-amz-checksum-mode") or "").upper() == "ENABLED":
            headers += _checksum_headers(stored)
        return Answer(200, headers, _bytes(request, stored, 0, stored.size), length=stored.size)


def _bytes(request: Request, stored: Stored, start: int, stop: int) -> bytes | memoryview:
    if request.head.method == b"HEAD":
        return b""
    return bytes(stop - start) if stored.body is None else memoryview(stored.body)[start:stop]


def _resolve(first: str, last: str, size: int) -> tuple[int, int]:
    start = int(first) if first else max(0, size - int(last))
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        raise RefusedError(416, "InvalidRange", "The requested range is not satisfiable")
    return start, stop


def _checksum_headers(stored: Stored) -> list[str]:
    if stored.crc is None:
        return []
    return [f"x-amz-checksum-crc64nvme: {encoded(stored.crc)}", "x-amz-checksum-type: FULL_OBJECT"]


def _first(pattern: re.Pattern[bytes], data: bytes) -> str:
    found = pattern.search(data)
    if found is None:
        raise RefusedError(400, "MalformedXML")
    return found[1].decode()
