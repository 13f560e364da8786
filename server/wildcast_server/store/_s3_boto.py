"""What only boto3 can ask S3: the checksum that it keeps of a whole object."""

from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from wildcast_server.errors import (
    AccessDeniedError,
    NetworkError,
    NoSuchBucketError,
    NotFoundError,
    StoreError,
    StoreIoError,
)
from wildcast_server.store.options import CONNECT_TIMEOUT, StoreOptions

_RETRIES = 4
"""Repetitions of a HEAD, at most; with their pauses, and where nobody answers, they take under three minutes."""


class ChecksumReader:
    """Reads full-object checksums by HEAD; makes its client, and imports boto3, at the first call.

    Parameters
    ----------
    bucket
        Its name.
    endpoint
        URL of the service, without the bucket.
    options
        How to reach it.
    """

    def __init__(self, bucket: str, endpoint: str, options: StoreOptions) -> None:
        self._bucket = bucket
        self._endpoint = endpoint
        self._options = options
        self._lock = Lock()
        self._client: Any = None

    def __call__(self, path: str, uri: str) -> str | None:
        """Return the CRC64NVME (base64) of the object at `path`, or None if the store keeps none."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ProfileNotFound

        try:
            answer = self._connect().head_object(Bucket=self._bucket, Key=path, ChecksumMode="ENABLED")
        except ClientError as error:
            raise _translate(error.response, uri) from error
        except (NoCredentialsError, ProfileNotFound) as error:
            raise AccessDeniedError(f"the checksum of {uri} could not be read: {error}", uri) from error
        except BotoCoreError as error:
            raise NetworkError(f"the checksum of {uri} could not be read: {type(error).__name__}", uri) from error
        checksum = answer.get("ChecksumCRC64NVME")
        return None if checksum is None else str(checksum)

    def _connect(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._make_client()
            return self._client

    def _make_client(self) -> Any:
        import boto3

        options = self._options
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self._endpoint,
            region_name=options.region,
            aws_access_key_id=options.access_key_id,
            aws_secret_access_key=options.secret_access_key,
            aws_session_token=options.session_token,
            verify=str(options.ca_bundle) if options.ca_bundle else None,
            config=_config(options, urlsplit(self._endpoint).scheme),
        )


def _config(options: StoreOptions, scheme: str) -> Any:
    from botocore.config import Config

    return Config(
        signature_version="s3v4",
        s3={"addressing_style": "virtual" if options.use_virtual_addressing else "path"},
        proxies={scheme: options.proxy_url} if options.proxy_url else None,
        connect_timeout=CONNECT_TIMEOUT.total_seconds(),
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": min(options.max_retries, _RETRIES) + 1},
        max_pool_connections=64,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _translate(response: Any, uri: str) -> StoreError:
    """Turn the answer to a HEAD, which has no body and thus no code of S3's own, into an error."""
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(response.get("Error", {}).get("Code", ""))
    what = f"the checksum of {uri} could not be read"
    if code == "NoSuchBucket":
        return NoSuchBucketError(f"{what}: there is no such bucket", uri)
    match status:
        case 404:
            return NotFoundError(f"{uri} does not exist", uri)
        case 401 | 403:
            why = f"access denied, the store answered {status}"
            return AccessDeniedError(f"{what}: {why}; check what the credentials allow", uri)
        case _ if status >= 500:  # noqa: PLR2004 - HTTP's server errors
            return NetworkError(f"{what}: the store answered {status}; try again later", uri)
    return StoreIoError(f"{what}: the store answered {status}", uri)
