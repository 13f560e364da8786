"""Writing by the client of the AWS Common Runtime, which is imported at the first write.

boto3's own way to it sends everything to AWS whatever endpoint it was given; here the endpoint is in each request.
The client has no setting for a proxy, so `can_serve` says no where one is configured.
"""

from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Lock
from typing import TYPE_CHECKING, Any

from wildcast_server.errors import InvalidUriError, MultipartError
from wildcast_server.store._errors import UNTRUSTED, Action, element_of, unanswered, uncredentialed
from wildcast_server.store._http import response_timeout
from wildcast_server.store._s3_credentials import MissingCredentialsError
from wildcast_server.store._s3_requests import (
    CUT,
    Answer,
    Request,
    completion,
    http_request,
    object_headers,
    parse,
    signing,
    text_of,
)
from wildcast_server.store._s3_site import S3Site, proxy_of
from wildcast_server.store._s3_writer import Part, RequestWriter
from wildcast_server.store.base import ObjectAttributes
from wildcast_server.store.checksums import crc64nvme_of
from wildcast_server.store.options import CONNECT_TIMEOUT

if TYPE_CHECKING:
    from awscrt.auth import AwsCredentials, AwsCredentialsProvider
    from awscrt.s3 import S3Client

_STATUS = {
    "AWS_ERROR_S3_SLOW_DOWN": (503, "SlowDown"),
    "AWS_ERROR_S3_INTERNAL_ERROR": (500, "InternalError"),
}

_CRC = "x-amz-checksum-crc64nvme"


def can_serve(site: S3Site) -> bool:
    """Whether this engine can reach a bucket."""
    return not proxy_of(site)


class CrtWriter(RequestWriter):
    """Writes by single requests of the AWS Common Runtime's S3 client.

    Parameters
    ----------
    site, repeat, checksums
        As `RequestWriter` has them.
    """

    name = "the AWS Common Runtime"

    def __init__(self, site: S3Site, repeat: Callable[[Callable[[], object]], object], *, checksums: bool) -> None:
        super().__init__(site, repeat, checksums=checksums)
        self._lock = Lock()
        self._client: S3Client | None = None
        self._provider: AwsCredentialsProvider | None = None

    def put(self, path: str, data: bytes, attributes: ObjectAttributes | None, *, if_absent: bool) -> str | None:
        headers = object_headers(self._site, attributes) | self._checksum(data) | _condition(if_absent=if_absent)
        return self._etag(path, self._ask(Request("PutObject", "PUT", path, headers=headers, body=data)))

    def create(self, path: str, attributes: ObjectAttributes | None) -> str:
        headers = object_headers(self._site, attributes)
        if self._checksums:
            headers["x-amz-checksum-algorithm"] = "CRC64NVME"
        answer = self._ask(Request("CreateMultipartUpload", "POST", path, {"uploads": ""}, headers))
        uri = self._site.uri_of(path)
        return text_of(parse(answer, uri), "UploadId")

    def upload(self, path: str, upload: str, number: int, data: bytes) -> Part:
        query = {"partNumber": str(number), "uploadId": upload}
        checksum = self._checksum(data)
        answer = self._ask(Request("UploadPart", "PUT", path, query, checksum, data))
        return Part(number, self._etag(path, answer), checksum.get(_CRC))

    def complete(self, path: str, upload: str, parts: list[Part], *, if_absent: bool) -> str | None:
        body = completion((part.number, part.etag, part.checksum) for part in parts)
        headers = {"Content-Type": "application/xml"} | _condition(if_absent=if_absent)
        request = Request("CompleteMultipartUpload", "POST", path, {"uploadId": upload}, headers, body)
        uri = self._site.uri_of(path)
        etag = text_of(parse(self._ask(request), uri), "ETag")
        if not etag:
            raise unanswered(uri, "written", CUT)
        return etag

    def abort(self, path: str, upload: str) -> None:
        self._ask(Request("AbortMultipartUpload", "DELETE", path, {"uploadId": upload}), "deleted")

    def _etag(self, path: str, answer: Answer) -> str:
        if "etag" not in answer.headers:
            raise unanswered(self._site.uri_of(path), "written", CUT)
        return answer.headers["etag"]

    def _checksum(self, data: bytes) -> dict[str, str]:
        return {_CRC: crc64nvme_of(data)} if self._checksums else {}

    def _ask(self, request: Request, action: Action = "written") -> Answer:
        uri = self._site.uri_of(request.path)
        try:
            # Before anything is sent: an error within the runtime's own thread would have no sentence.
            self._site.credentials()
        except MissingCredentialsError as error:
            raise uncredentialed(uri, action, error) from error
        answer = self._exchange(request, uri, action)
        if element_of(answer.text, "Code") == "NoSuchUpload":
            raise MultipartError(f"{uri}: the store does not know the multipart upload any more; begin it again", uri)
        return answer.check(uri, action)

    def _exchange(self, request: Request, uri: str, action: Action) -> Answer:
        from awscrt.exceptions import AwsCrtError
        from awscrt.s3 import S3RequestType, S3ResponseError

        client, provider = self._connect()
        told: list[Any] = [0, []]
        chunks: list[bytes] = []
        sent = client.make_request(
            type=S3RequestType.DEFAULT,
            operation_name=request.operation,
            request=http_request(self._site, request),
            signing_config=signing(self._site, request, provider),
            on_headers=lambda status_code, headers, **_: told.__setitem__(slice(None), [status_code, headers]),
            on_body=lambda chunk, **_: chunks.append(bytes(chunk)),
        )
        try:
            sent.finished_future.result(self._patience(request))
        except S3ResponseError as error:
            return _answer(error.status_code, error.headers or [], error.body or b"")
        except FutureTimeoutError:
            sent.cancel()
            raise unanswered(uri, action, "it did not answer in time") from None
        except AwsCrtError as error:
            if error.name in _STATUS:
                # After a repetition of its own it keeps the answer to itself.
                return Answer(_STATUS[error.name][0], {}, f"<Code>{_STATUS[error.name][1]}</Code>".encode())
            raise unanswered(uri, action, _reason(error)) from error
        return _answer(told[0], told[1], b"".join(chunks))

    def _patience(self, request: Request) -> float:
        """Return for how many seconds to wait; to put a large object together takes a store its time as well."""
        options = self._site.options
        size = options.part_size if request.operation == "CompleteMultipartUpload" else len(request.body)
        return response_timeout(options, size)

    def _connect(self) -> "tuple[S3Client, AwsCredentialsProvider]":
        from awscrt.auth import AwsCredentialsProvider

        with self._lock:
            if self._client is None or self._provider is None:
                self._provider = AwsCredentialsProvider.new_delegate(self._credentials)
                self._client = _make_client(self._site)
            return self._client, self._provider

    def _credentials(self) -> "AwsCredentials":
        from awscrt.auth import AwsCredentials

        now = self._site.credentials()
        return AwsCredentials(now.access_key_id, now.secret_access_key, now.token, now.expires_at)


def _make_client(site: S3Site) -> "S3Client":
    from awscrt.s3 import S3Client, S3RequestTlsMode, S3RetryConfig

    return S3Client(
        region=site.options.region,
        tls_mode=S3RequestTlsMode.ENABLED if site.is_encrypted else S3RequestTlsMode.DISABLED,
        tls_connection_options=_trusted(site),
        connect_timeout_ms=int(CONNECT_TIMEOUT.total_seconds() * 1000),
        # The least that can be said, for zero means five: the repetitions are ours.
        retry_config=S3RetryConfig(max_retries=1, initial_bucket_capacity=1),
    )


def _trusted(site: S3Site) -> Any:
    from awscrt.io import ClientTlsContext, TlsContextOptions

    bundle = site.options.ca_bundle
    if bundle is None or not site.is_encrypted:
        return None
    options = TlsContextOptions()
    try:
        options.override_default_trust_store(bundle.read_bytes())
        return ClientTlsContext(options).new_connection_options()
    except (OSError, RuntimeError) as error:
        raise InvalidUriError(f"the ca_bundle {bundle} cannot be used: {error}") from error


def _answer(status: int, headers: list[tuple[str, str]], body: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers}, body)


def _reason(error: Any) -> str:
    if "TLS" in str(error.name):
        return UNTRUSTED
    return f"it could not be reached, or did not answer in time ({error.name}); check the endpoint"


def _condition(*, if_absent: bool) -> dict[str, str]:
    return {"If-None-Match": "*"} if if_absent else {}
