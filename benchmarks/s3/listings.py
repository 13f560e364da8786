"""S3's listings: of objects, of unfinished uploads, of an upload's parts."""

import base64
import time
from urllib.parse import quote
from xml.sax.saxutils import escape

from .contents import Contents, Page
from .messages import Answer, RefusedError, Request, xml

PAGE = 1000


class Listings:
    """Answers what lies in the contents.

    Parameters
    ----------
    contents
        What is listed.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._modified = stamp(time.time())

    def objects(self, request: Request) -> Answer:
        """List objects, in the second version of S3's listing or in the first."""
        asked = request.asked
        prefix, delimiter = asked("prefix"), asked("delimiter")
        limit = min(int(asked("max-keys") or PAGE), PAGE)
        second = "list-type" in request.query
        page = self._contents.page(prefix, _after(request), delimiter, limit)
        url = asked("encoding-type") == "url"
        name = quote if url else escape
        count = f"<KeyCount>{len(page.keys) + len(page.prefixes)}</KeyCount>" if second else ""
        inner = (
            f"<Name>{escape(request.bucket)}</Name><Prefix>{name(prefix)}</Prefix>{count}<MaxKeys>{limit}</MaxKeys>"
            f"{'<EncodingType>url</EncodingType>' if url else ''}"
            f"<IsTruncated>{'false' if page.after is None else 'true'}</IsTruncated>{_next(page, second=second)}"
            f"{''.join([self._row(key, name(key)) for key in page.keys])}"
            f"{''.join([f'<CommonPrefixes><Prefix>{name(one)}</Prefix></CommonPrefixes>' for one in page.prefixes])}"
        )
        return xml("ListBucketResult", inner)

    def _row(self, key: str, name: str) -> str:
        stored = self._contents.objects[key]
        return (
            f"<Contents><Key>{name}</Key><LastModified>{self._modified}</LastModified>"
            f"<ETag>{stored.etag}</ETag><Size>{stored.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )

    def uploads(self, request: Request) -> Answer:
        """List the uploads below a prefix that nobody has ended."""
        prefix, marker = request.asked("prefix"), (request.asked("key-marker"), request.asked("upload-id-marker"))
        found = sorted((upload.key, name) for name, upload in self._contents.uploads.items())
        # A key marker without an upload's id stands behind all uploads of that key.
        start = marker if marker[1] else (marker[0] + "\0", "") if marker[0] else ("", "")
        found = [one for one in found if one[0].startswith(prefix) and (one > start if marker[1] else one >= start)]
        limit = min(int(request.asked("max-uploads") or PAGE), PAGE)
        more = len(found) > limit
        rows = "".join(self._upload(key, name) for key, name in found[:limit])
        ends = "".join(
            f"<{tag}>{escape(value)}</{tag}>"
            for tag, value in zip(
                ("NextKeyMarker", "NextUploadIdMarker"), found[limit - 1] if more else (), strict=False
            )
        )
        head = f"<Bucket>{escape(request.bucket)}</Bucket><IsTruncated>{str(more).lower()}</IsTruncated>"
        return xml("ListMultipartUploadsResult", f"{head}{ends}{rows}")

    def _upload(self, key: str, name: str) -> str:
        began = stamp(self._contents.uploads[name].began)
        return (
            f"<Upload><Key>{escape(key)}</Key><UploadId>{name}</UploadId><Initiated>{began}</Initiated>"
            "<StorageClass>STANDARD</StorageClass></Upload>"
        )

    def parts(self, request: Request) -> Answer:
        """List an upload's parts; all of them, for nobody here makes more than a page."""
        upload = self._contents.uploads.get(request.asked("uploadId"))
        if upload is None:
            raise RefusedError(404, "NoSuchUpload")
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber><LastModified>{self._modified}</LastModified>"
            f"<ETag>{escape(part.etag)}</ETag><Size>{part.size}</Size></Part>"
            for number, part in sorted(upload.parts.items())
        )
        head = (
            f"<Bucket>{escape(request.bucket)}</Bucket><Key>{escape(upload.key)}</Key><IsTruncated>false</IsTruncated>"
        )
        return xml("ListPartsResult", f"{head}<UploadId>{request.asked('uploadId')}</UploadId>{rows}")


def stamp(seconds: float) -> str:
    """Return a time as S3's documents have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def _after(request: Request) -> str:
    token = request.asked("continuation-token")
    if token:
        return base64.urlsafe_b64decode(token).decode()
    return request.asked("start-after") or request.asked("marker")


def _next(page: Page, *, second: bool) -> str:
    if page.after is None:
        return ""
    if second:
        token = base64.urlsafe_b64encode(page.after.encode()).decode()
        return f"<NextContinuationToken>{token}</NextContinuationToken>"
    return f"<NextMarker>{escape(page.after)}</NextMarker>"
