"""Presigned URLs of S3, and its multipart uploads, signed by the AWS Common Runtime.

With Signature Version 4 (Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters"), which grants
seven days at most, and no longer than the credentials live.
"""

import logging
from collections.abc import Mapping
from datetime import timedelta
from threading import Lock
from typing import Self
from urllib.parse import urlsplit

from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSignedBodyValue,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.http import HttpHeaders, HttpRequest

from wildcast_server.errors import CredentialsExpiredError, PresignError, StoreError
from wildcast_server.store._http import retry_policy
from wildcast_server.store._presign_http import multipart_refusal
from wildcast_server.store._presign_xml import NOTHING, XmlPresigner
from wildcast_server.store._s3_credentials import Credentials
from wildcast_server.store._s3_probe import why_not_accelerated
from wildcast_server.store._s3_requests import Request, object_headers, target
from wildcast_server.store._s3_signed import SignedClient
from wildcast_server.store._s3_site import S3Site, describe_site
from wildcast_server.store.base import ObjectAttributes
from wildcast_server.store.opening import open_store
from wildcast_server.store.options import StoreOptions
from wildcast_server.store.presign import Lifetime, PresignedUrl

_log = logging.getLogger(__name__)

_SIGNING = 30.0
"""Seconds after which a signature, which takes microseconds, is given up."""


class S3Presigner(XmlPresigner):
    """Signs URLs of an S3 bucket, for seven days at most.

    Parameters
    ----------
    uri, options
        As `XmlPresigner` has them.
    site
        Where the bucket is; whether it is accelerated is found out when the first URL is signed.
    """

    def __init__(self, uri: str, options: StoreOptions, site: S3Site) -> None:
        super().__init__(uri)
        self._options = options
        self._plain = site
        self._lock = Lock()
        self._chosen: S3Site | None = None
        self._client = SignedClient(site)
        self._provider: tuple[Credentials, AwsCredentialsProvider] | None = None

    @classmethod
    def open(cls, uri: str, options: StoreOptions) -> Self:
        """Open a bucket by its URI."""
        clean = open_store(uri, options).uri
        bucket = clean.removeprefix("s3://").partition("/")[0]
        return cls(clean, options, describe_site(bucket, options))

    def _object_headers(self, content_type: str | None) -> dict[str, str]:
        return object_headers(self._plain, ObjectAttributes(content_type))

    def _presign(
        self,
        method: str,
        key: str,
        expires_in: timedelta | float,
        query: Mapping[str, str] = NOTHING,
        headers: Mapping[str, str] = NOTHING,
    ) -> PresignedUrl:
        request = Request("", method, self._path(key), query, headers)
        credentials = self._credentials(key)
        lifetime = self._lifetime(key, expires_in, credentials_end=credentials.expires_at)
        url = self._signed(request, lifetime, credentials)
        return PresignedUrl(method, url, lifetime.expires_at, headers)

    def _exchange(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes = b"",
    ) -> str:
        request = Request("", method, self._path(key), query, headers, body)
        return retry_policy(self._options).call(lambda: self._once(key, request), self._is_worth_another)

    def _is_worth_another(self, error: StoreError, began: float) -> bool:
        return not isinstance(error, CredentialsExpiredError) or self._plain.credentials.renew(began)

    def _once(self, key: str, request: Request) -> str:
        answer = self._client.send(request, "written")
        if not answer.is_success and (error := multipart_refusal(self._uri_of(key), answer.status, answer.text)):
            raise error
        return answer.check(self._uri_of(key), "written").text

    def _credentials(self, key: str) -> Credentials:
        try:
            return self._plain.credentials()
        except LookupError as error:
            raise PresignError(f"no URL of {self._uri_of(key)} can be signed: {error}", self._uri_of(key)) from error

    def _signed(self, request: Request, lifetime: Lifetime, credentials: Credentials) -> str:
        site = self._site()
        parts = urlsplit(site.url)
        headers = HttpHeaders([("host", parts.netloc), *request.headers.items()])
        config = AwsSigningConfig(
            algorithm=AwsSigningAlgorithm.V4,
            signature_type=AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
            credentials_provider=self._provide(credentials),
            region=self._options.region,
            service="s3",
            date=lifetime.begins_at,
            use_double_uri_encode=False,
            should_normalize_uri_path=False,
            signed_body_value=AwsSignedBodyValue.UNSIGNED_PAYLOAD,
            expiration_in_seconds=lifetime.seconds,
        )
        signing = aws_sign_request(HttpRequest(request.method, target(site, request), headers), config)
        return f"{parts.scheme}://{parts.netloc}{signing.result(_SIGNING).path}"

    def _provide(self, credentials: Credentials) -> AwsCredentialsProvider:
        # Two threads may both make one: they are alike.
        known = self._provider
        if known is None or known[0] != credentials:
            provider = AwsCredentialsProvider.new_static(
                credentials.access_key_id,
                credentials.secret_access_key,
                credentials.token,
            )
            known = self._provider = (credentials, provider)
        return known[1]

    def _site(self) -> S3Site:
        with self._lock:
            if self._chosen is None:
                self._chosen = self._choose()
            return self._chosen

    def _choose(self) -> S3Site:
        accelerated = self._plain.accelerate()
        if accelerated is None:
            return self._plain
        why = why_not_accelerated(SignedClient(accelerated))
        if why is None:
            return accelerated
        _log.warning("URLs of %s go without S3 Transfer Acceleration: %s", self.uri, why)
        return self._plain
