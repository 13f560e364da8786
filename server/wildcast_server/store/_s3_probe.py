"""Find out by asking what an S3 endpoint does: whether it checks checksums, whether a bucket is accelerated."""

import logging
import secrets
from contextlib import suppress
from threading import Lock

from wildcast.contract.naming import RESERVED, join_key
from wildcast_server.errors import StoreError
from wildcast_server.store._errors import element_of
from wildcast_server.store._s3_requests import Answer, Request
from wildcast_server.store._s3_signed import SignedClient
from wildcast_server.store.checksums import crc64nvme_of
from wildcast_server.store.retry import RetryPolicy

_log = logging.getLogger(__name__)

_BODY = b"Does this store compare the checksum?\n"
_BAD_REQUEST = 400
_NOT_IMPLEMENTED = {405, 501}
_SUCCESS = range(200, 300)

_MISMATCH = {"BadDigest", "XAmzContentChecksumMismatch"}
"""What S3, and MinIO, call a body that is not what its checksum says."""

_PASSING = {
    "ExpiredToken",
    "IncompleteBody",
    "OperationAborted",
    "RequestTimeout",
    "TokenRefreshRequired",
    "XAmzContentSHA256Mismatch",
}
"""Codes of 400 that say nothing of the checksum: the same request may be answered otherwise the next time."""

_DELETING = RetryPolicy(deadline=5.0, max_retries=5)


class ChecksumTrust:
    """Whether a store refuses bytes that differ from the CRC64NVME sent along with them; it is asked once.

    Parameters
    ----------
    client
        Asks.
    prefix
        Where a tiny object may be written.
    """

    def __init__(self, client: SignedClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._lock = Lock()
        self._known: bool | None = None

    @property
    def is_proved(self) -> bool:
        """Whether the store was asked and does; this asks nothing."""
        return self._known is True

    def __call__(self) -> bool:
        """Return whether it does; a store that cannot answer now is asked again the next time."""
        if self._known is None:
            with self._lock:
                if self._known is None:
                    self._known = self._ask()
        return self._known is True

    def _ask(self) -> bool | None:
        path = join_key(self._prefix, RESERVED, f"checksum-probe-{secrets.token_hex(8)}")
        try:
            known = self._judge(path, self._put(path, b"another" + _BODY))
        except StoreError as error:
            _log.debug("%s could not be asked whether it checks checksums: %s", self._uri, error)
            # Only the answer may have been lost.
            self._delete(path)
            return None
        _log.debug("%s checks checksums: %s", self._uri, "it did not say" if known is None else known)
        return known

    @property
    def _uri(self) -> str:
        return self._client.site.uri_of("")

    def _judge(self, path: str, answer: Answer) -> bool | None:
        """Tell from the answer to a wrong checksum what the store does with one."""
        if answer.status in _SUCCESS:
            self._delete(path)
            return False
        if answer.status == _BAD_REQUEST:
            code = element_of(answer.text, "Code")
            if code in _PASSING:
                return None
            # Some stores refuse the header as such, and would refuse every object with it.
            return code in _MISMATCH or self._takes_a_right_one(path)
        return False if answer.status in _NOT_IMPLEMENTED else None

    def _takes_a_right_one(self, path: str) -> bool:
        if self._put(path, _BODY).status not in _SUCCESS:
            return False
        self._delete(path)
        return True

    def _put(self, path: str, checked: bytes) -> Answer:
        """Write the body with the checksum of `checked`."""
        headers = {"x-amz-checksum-crc64nvme": crc64nvme_of(checked), "x-amz-sdk-checksum-algorithm": "CRC64NVME"}
        return self._client.send(Request("PutObject", "PUT", path, headers=headers, body=_BODY), "written")

    def _delete(self, path: str) -> None:
        request = Request("DeleteObject", "DELETE", path)
        with suppress(StoreError):
            _DELETING.call(lambda: self._client.send(request, "deleted").check(self._uri, "deleted"))


def why_not_accelerated(client: SignedClient) -> str | None:
    """Return why a bucket cannot be written through S3 Transfer Acceleration, or None if it can.

    Whatever it is asked for, the accelerated endpoint answers 400 for a bucket that does not have it enabled.
    """
    try:
        answer = client.send(Request("GetObject", "GET", "acceleration-probe"))
    except StoreError as error:
        return str(error)
    if answer.status != _BAD_REQUEST or element_of(answer.text, "Code") not in ("InvalidRequest", ""):
        return None
    return element_of(answer.text, "Message") or "its endpoint refuses the bucket"
