"""S3's multipart protocol, which the XML API of Google Cloud Storage speaks too."""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from wildcast_server.errors import MultipartError
from wildcast_server.store._presign_http import element
from wildcast_server.store._s3_requests import completion
from wildcast_server.store.presign import PresignedUrl, Presigner

NOTHING: Mapping[str, str] = {}


class XmlPresigner(Presigner):
    """Signs URLs of a bucket, or of what lies below a prefix of one.

    Parameters
    ----------
    uri
        Without a trailing slash: ``s3://bucket/base``.
    """

    def __init__(self, uri: str) -> None:
        bucket, _, base = uri.partition("://")[2].partition("/")
        super().__init__(uri, base)
        self._bucket = bucket

    @abstractmethod
    def _presign(
        self,
        method: str,
        key: str,
        expires_in: timedelta | float,
        query: Mapping[str, str] = NOTHING,
        headers: Mapping[str, str] = NOTHING,
    ) -> PresignedUrl:
        """Sign a URL with a query and headers of its own."""

    @abstractmethod
    def _exchange(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes = b"",
    ) -> str:
        """Send a request of our own; return the answer's body, which is XML or nothing."""

    @abstractmethod
    def _object_headers(self, content_type: str | None) -> dict[str, str]:
        """Return the headers of a request that makes an object."""

    def presign_get(self, key: str, expires_in: timedelta | float) -> PresignedUrl:
        return self._presign("GET", key, expires_in)

    def presign_put(
        self,
        key: str,
        expires_in: timedelta | float,
        *,
        content_type: str | None = None,
    ) -> PresignedUrl:
        return self._presign("PUT", key, expires_in, headers=self._object_headers(content_type))

    def presign_part(self, key: str, upload: str, number: int, expires_in: timedelta | float) -> PresignedUrl:
        self._check_number(key, number)
        return self._presign("PUT", key, expires_in, {"partNumber": str(number), "uploadId": upload})

    def create_multipart(self, key: str, *, content_type: str | None = None) -> str:
        answer = self._exchange("POST", key, {"uploads": ""}, self._object_headers(content_type))
        upload = element(answer, "UploadId")
        if not upload:
            raise MultipartError(f"{self._uri_of(key)}: the store named no upload", self._uri_of(key))
        return upload

    def complete_multipart(self, key: str, upload: str, parts: Mapping[int, str]) -> str | None:
        body = completion((number, etag, None) for number, etag in self._in_order(key, parts))
        answer = self._exchange("POST", key, {"uploadId": upload}, {"Content-Type": "application/xml"}, body)
        return element(answer, "ETag") or None

    def abort_multipart(self, key: str, upload: str) -> None:
        with suppress(MultipartError):
            self._exchange("DELETE", key, {"uploadId": upload}, NOTHING)
