"""What is asked of S3 beside reading and writing objects: one signed request at a time, without a vendor's SDK.

boto3 would do, at the price of half a second for its import; this is urllib3, which it stands on, and a signature.
"""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from wildcast_server.errors import InvalidUriError
from wildcast_server.store._errors import UNTRUSTED, Action, unanswered, uncredentialed
from wildcast_server.store._s3_credentials import MissingCredentialsError
from wildcast_server.store._s3_requests import CUT, Answer, Request, http_request, parse, signing, text_of
from wildcast_server.store._s3_site import S3Site, proxy_of
from wildcast_server.store.base import UnfinishedUpload
from wildcast_server.store.options import CONNECT_TIMEOUT

if TYPE_CHECKING:
    from urllib3 import PoolManager


class SignedClient:
    """Sends requests, once each; makes its connections, and imports urllib3, at the first.

    Parameters
    ----------
    site
        Whom it speaks to.
    """

    def __init__(self, site: S3Site) -> None:
        self.site = site
        self._lock = Lock()
        self._pool: PoolManager | None = None

    def send(self, request: Request, action: Action = "read") -> Answer:
        """Send a request, and return whatever is answered.

        Raises
        ------
        NetworkError
            If nothing is, or not all of it.
        AccessDeniedError
            If there are no credentials.
        """
        from urllib3.exceptions import HTTPError

        uri = self.site.uri_of(request.path)
        try:
            path, headers = self._sign(request)
        except MissingCredentialsError as error:
            raise uncredentialed(uri, action, error) from error
        try:
            answer = self._connect().request(
                request.method,
                self._origin + path,
                body=request.body or None,
                headers=headers,
                retries=False,
                redirect=False,
            )
        except (HTTPError, OSError) as error:
            # Its own text may quote the proxy's URL, password included.
            raise unanswered(uri, action, _reason(error)) from None
        whole = Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)
        if whole.is_cut:
            raise unanswered(uri, action, CUT)
        return whole

    @property
    def _origin(self) -> str:
        parts = urlsplit(self.site.url)
        return f"{parts.scheme}://{parts.netloc}"

    def _sign(self, request: Request) -> tuple[str, dict[str, str]]:
        from awscrt.auth import AwsCredentialsProvider, aws_sign_request

        credentials = self.site.credentials()
        provider = AwsCredentialsProvider.new_static(
            credentials.access_key_id, credentials.secret_access_key, credentials.token
        )
        plain = http_request(self.site, request)
        signed = aws_sign_request(plain, signing(self.site, request, provider)).result()
        return signed.path, dict(signed.headers)

    def _connect(self) -> "PoolManager":
        with self._lock:
            if self._pool is None:
                self._pool = self._make_pool()
            return self._pool

    def _make_pool(self) -> "PoolManager":
        from urllib3 import PoolManager, ProxyManager, Timeout, make_headers

        options = self.site.options
        settings: dict[str, Any] = {
            "num_pools": 4,
            "maxsize": options.max_connections,
            "timeout": Timeout(connect=CONNECT_TIMEOUT.total_seconds(), read=options.response_timeout),
        }
        if self.site.is_encrypted:
            settings["ssl_context"] = self._trusted()
        proxy = proxy_of(self.site)
        if not proxy:
            return PoolManager(**settings)
        parts = urlsplit(proxy)
        if parts.username:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            settings["proxy_headers"] = make_headers(proxy_basic_auth=login)
        address = parts.netloc.rpartition("@")[2]
        return ProxyManager(f"{parts.scheme}://{address}", **settings)

    def _trusted(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        bundle = self.site.options.ca_bundle
        if bundle is not None:
            try:
                context.load_verify_locations(bundle)
            except (OSError, ssl.SSLError) as error:
                raise InvalidUriError(f"the ca_bundle {bundle} cannot be used: {error}") from error
        return context


def _reason(error: Exception) -> str:
    if "certificate" in str(error):
        return UNTRUSTED
    return f"it could not be reached, or did not answer in time ({type(error).__name__}); check the endpoint"


def read_checksum(client: SignedClient, path: str) -> str | None:
    """Return the CRC64NVME (base64) that S3 keeps of a whole object, or None if it keeps none."""
    request = Request("HeadObject", "HEAD", path, headers={"x-amz-checksum-mode": "ENABLED"})
    answer = client.send(request).check(client.site.uri_of(path), "read")
    # A checksum of checksums, which S3 never makes of this kind, would end in a hyphen and the number of parts.
    checksum = answer.headers.get("x-amz-checksum-crc64nvme")
    return checksum if checksum and "-" not in checksum else None


def list_uploads(client: SignedClient, prefix: str) -> Iterator[UnfinishedUpload]:
    """All unfinished multipart uploads whose paths begin with `prefix`, page by page."""
    query = {"uploads": "", "encoding-type": "url", "prefix": prefix}
    uri = client.site.uri_of(prefix)
    while True:
        answer = client.send(Request("ListMultipartUploads", "GET", query=query), "listed").check(uri, "listed")
        page = parse(answer, uri)
        plain = unquote if text_of(page, "EncodingType") == "url" else str
        for upload in page.findall("Upload"):
            yield UnfinishedUpload(
                plain(text_of(upload, "Key")), text_of(upload, "UploadId"), _time(text_of(upload, "Initiated"))
            )
        here, marker = query.get("key-marker"), plain(text_of(page, "NextKeyMarker"))
        there = text_of(page, "NextUploadIdMarker")
        if text_of(page, "IsTruncated") != "true" or (here, query.get("upload-id-marker")) == (marker, there):
            return
        query["key-marker"], query["upload-id-marker"] = marker, there


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def abort(client: SignedClient, path: str, upload_id: str) -> None:
    """End a multipart upload; no error if there is none any more."""
    request = Request("AbortMultipartUpload", "DELETE", path, {"uploadId": upload_id})
    answer = client.send(request, "deleted")
    if answer.status != 404:  # noqa: PLR2004 - HTTP's Not Found
        answer.check(client.site.uri_of(path), "deleted")
