"""Writing by boto3, which is imported at the first write."""

from collections.abc import Callable, Mapping
from functools import cache
from threading import Lock
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from xml.sax.saxutils import escape

from wildcast_server.errors import MultipartError, StoreError
from wildcast_server.store._errors import UNTRUSTED, refused, unanswered, uncredentialed
from wildcast_server.store._http import response_timeout, size_class
from wildcast_server.store._s3_credentials import CredentialSource, MissingCredentialsError
from wildcast_server.store._s3_requests import CUT, Answer
from wildcast_server.store._s3_site import S3Site
from wildcast_server.store._s3_writer import Part, RequestWriter
from wildcast_server.store.base import ObjectAttributes
from wildcast_server.store.checksums import crc64nvme_of
from wildcast_server.store.options import CONNECT_TIMEOUT

_FAILURE = 400


class BotoWriter(RequestWriter):
    """Writes by boto3's client, whose own repetitions are switched off.

    Parameters
    ----------
    site, repeat, checksums
        As `RequestWriter` has them.
    """

    name = "boto3"

    def __init__(self, site: S3Site, repeat: Callable[[Callable[[], object]], object], *, checksums: bool) -> None:
        super().__init__(site, repeat, checksums=checksums)
        self._lock = Lock()
        self._clients: dict[int, Any] = {}

    def put(self, path: str, data: bytes, attributes: ObjectAttributes | None, *, if_absent: bool) -> str | None:
        given: dict[str, Any] = {"Body": data, **self._object(attributes), **self._checksum(data)}
        given |= _condition(if_absent=if_absent)
        return str(self._ask("put_object", path, "ETag", given, size=len(data))["ETag"])

    def create(self, path: str, attributes: ObjectAttributes | None) -> str:
        algorithm = {"ChecksumAlgorithm": "CRC64NVME"} if self._checksums else {}
        answer = self._ask("create_multipart_upload", path, "UploadId", self._object(attributes) | algorithm)
        return str(answer["UploadId"])

    def upload(self, path: str, upload: str, number: int, data: bytes) -> Part:
        checksum = self._checksum(data)
        given = {"UploadId": upload, "PartNumber": number, "Body": data, **checksum}
        answer = self._ask("upload_part", path, "ETag", given, size=len(data))
        return Part(number, str(answer["ETag"]), checksum.get("ChecksumCRC64NVME"))

    def complete(self, path: str, upload: str, parts: list[Part], *, if_absent: bool) -> str | None:
        listed = {"Parts": [_listed(part) for part in parts]}
        given = {"UploadId": upload, "MultipartUpload": listed, **_condition(if_absent=if_absent)}
        # To put a large object together takes a store its time as well.
        size = self._site.options.part_size
        return str(self._ask("complete_multipart_upload", path, "ETag", given, size=size)["ETag"])

    def abort(self, path: str, upload: str) -> None:
        self._ask("abort_multipart_upload", path, None, {"UploadId": upload})

    def _object(self, attributes: ObjectAttributes | None) -> dict[str, str]:
        options, given = self._site.options, attributes or ObjectAttributes()
        named = {
            "ContentType": given.content_type,
            "CacheControl": given.cache_control,
            "StorageClass": options.storage_class,
            "ServerSideEncryption": options.sse,
            "SSEKMSKeyId": options.sse_kms_key_id,
            "Tagging": urlencode(options.tags, quote_via=quote) or None,
        }
        return {name: value for name, value in named.items() if value is not None}

    def _checksum(self, data: bytes) -> dict[str, str]:
        return {"ChecksumCRC64NVME": crc64nvme_of(data)} if self._checksums else {}

    def _ask(self, operation: str, path: str, needed: str | None, given: Mapping[str, Any], *, size: int = 0) -> Any:
        """Make a request with a body of `size` bytes; `needed` is what every whole answer to it has."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        uri = self._site.uri_of(path)
        try:
            answer = getattr(self._connect(size), operation)(Bucket=self._site.bucket, Key=path, **given)
        except ClientError as error:
            raise _translate(error.response, uri) from error
        except (BotoCoreError, ResponseParserError) as error:
            # Its text may quote the proxy's URL, password included.
            raise unanswered(uri, "written", _reason(error)) from None
        except MissingCredentialsError as error:
            raise uncredentialed(uri, "written", error) from error
        heard = answer["ResponseMetadata"]
        if Answer(heard["HTTPStatusCode"], heard["HTTPHeaders"], b"").is_cut or (needed and not answer.get(needed)):
            raise unanswered(uri, "written", CUT)
        return answer

    def _connect(self, size: int) -> Any:
        """Return the client for bodies of `size` bytes, whose patience fits."""
        rounded = size_class(size, self._site.options.part_size)
        with self._lock:
            if rounded not in self._clients:
                self._clients[rounded] = make_client(self._site, rounded)
            return self._clients[rounded]


def make_client(site: S3Site, size: int) -> Any:
    """Make boto3's client for requests with bodies of up to `size` bytes: our credentials, no repetitions."""
    options = site.options
    return boto_session(site.credentials).client(
        "s3",
        endpoint_url=None if site.accelerated else site.service,
        region_name=options.region,
        verify=str(options.ca_bundle) if options.ca_bundle else None,
        config=_config(site, size),
    )


def boto_session(credentials: CredentialSource) -> Any:
    """Make a session of boto3's with our credentials in place of those that it would look for."""
    import boto3
    import botocore.session

    core = botocore.session.get_session()
    core.register_component("data_loader", _descriptions())
    core.register_component("credential_provider", _Resolver(credentials))
    return boto3.session.Session(botocore_session=core)


@cache
def _descriptions() -> Any:
    """Return botocore's descriptions of the services, which take longer to read than all else that makes a client."""
    import botocore.session

    return botocore.session.get_session().get_component("data_loader")


def _config(site: S3Site, size: int) -> Any:
    from botocore.config import Config

    options = site.options
    return Config(
        signature_version="s3v4",
        s3={
            "addressing_style": "virtual" if site.virtual else "path",
            "use_accelerate_endpoint": site.accelerated,
            "payload_signing_enabled": site.signs_bodies,
        },
        proxies={urlsplit(site.service).scheme: options.proxy_url} if options.proxy_url else None,
        connect_timeout=CONNECT_TIMEOUT.total_seconds(),
        read_timeout=response_timeout(options, size),
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=options.max_connections,
        # The checksums are ours, computed and sent where they are wanted.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        ignore_configured_endpoint_urls=True,
    )


class _Resolver:
    """Gives botocore our credentials in place of its own search."""

    def __init__(self, source: CredentialSource) -> None:
        self._source = source

    def load_credentials(self) -> Any:
        return _as_botocore(self._source)


def _as_botocore(source: CredentialSource) -> Any:
    from botocore.credentials import Credentials, ReadOnlyCredentials

    class Current(Credentials):  # type: ignore[misc]
        """Asks at every signature."""

        def __init__(self) -> None:
            self.method = "wildcast"
            self.account_id = None

        def get_frozen_credentials(self) -> Any:
            now = source()
            return ReadOnlyCredentials(now.access_key_id, now.secret_access_key, now.token)

    return Current()


def _condition(*, if_absent: bool) -> dict[str, str]:
    return {"IfNoneMatch": "*"} if if_absent else {}


def _listed(part: Part) -> dict[str, object]:
    checksum = {"ChecksumCRC64NVME": part.checksum} if part.checksum else {}
    return {"PartNumber": part.number, "ETag": part.etag, **checksum}


def _translate(response: Any, uri: str) -> StoreError:
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code, message = (str(response.get("Error", {}).get(name, "")) for name in ("Code", "Message"))
    if code == "NoSuchUpload":
        return MultipartError(f"{uri}: the store does not know the multipart upload any more; begin it again", uri)
    # boto3 calls what came as a success and was none a 500 as well; its code is then no more than the number.
    named = "" if code == str(status) else f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    return refused(status if status >= _FAILURE else 500, named, uri, "written")


def _reason(error: Exception) -> str:
    name = type(error).__name__
    if name == "SSLError":
        return UNTRUSTED
    if name == "ResponseParserError":
        return "its answer is none of S3's; check the endpoint"
    return f"it could not be reached, or did not answer in time ({name}); check the endpoint"
