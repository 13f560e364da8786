"""The multipart uploads of a Google bucket that nobody has ended.

obstore begins them, by Google's XML API, and can neither list nor abort those that a killed process has left, so this
asks itself: with a service account's key, or as the service account of the machine. Whoever is neither, such as a
user whom ``gcloud`` has logged in, leaves them to a lifecycle rule of the bucket.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

from wildcast_server.errors import MultipartError, PresignError
from wildcast_server.store._presign_http import Outgoing, Sender
from wildcast_server.store._s3_requests import Answer, parse, text_of
from wildcast_server.store.base import UnfinishedUpload
from wildcast_server.store.options import StoreOptions

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

GOOGLE = "https://storage.googleapis.com"

_METADATA_HOST = "metadata.google.internal"
_METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
_METADATA_TIMEOUT = 3.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GcsUploads:
    """Lists and ends them."""

    bucket: str
    endpoint: str
    """Of the service, without a trailing slash; empty for Google's own."""
    anonymous: bool
    """Whether the service is an emulator that wants no token."""
    options: StoreOptions
    environ: Mapping[str, str] = field(repr=False)

    @cached_property
    def _sender(self) -> Sender:
        return Sender(self.options)

    def list(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """All whose paths in the bucket begin with `prefix` (Cloud Storage XML API, "List multipart uploads")."""
        bearer = self._bearer()
        if bearer is None:
            _log.info("unfinished uploads of gs://%s cannot be looked for: there is no service account", self.bucket)
            return
        query = {"uploads": "", "prefix": prefix}
        while True:
            page = self._page(query, bearer)
            for upload in page.iterfind("Upload"):
                yield UnfinishedUpload(text_of(upload, "Key"), text_of(upload, "UploadId"), _time(upload))
            there = {
                "key-marker": text_of(page, "NextKeyMarker"),
                "upload-id-marker": text_of(page, "NextUploadIdMarker"),
            }
            if text_of(page, "IsTruncated") != "true" or there.items() <= query.items():
                return
            query |= there

    def abort(self, path: str, upload: str) -> None:
        """Give back what an upload's parts occupy; no error if there is none any more."""
        bearer = self._bearer() or {}
        url = f"{self._url}/{quote(path, safe='/~')}?{urlencode({'uploadId': upload})}"
        with suppress(MultipartError):
            self._sender.send(f"gs://{self.bucket}/{path}", lambda: Outgoing("DELETE", url, bearer))

    @property
    def _url(self) -> str:
        return f"{self.endpoint or GOOGLE}/{self.bucket}"

    def _page(self, query: Mapping[str, str], bearer: Mapping[str, str]) -> "Element":
        uri, url = f"gs://{self.bucket}", f"{self._url}?{urlencode(query)}"
        answer = self._sender.send(uri, lambda: Outgoing("GET", url, bearer))
        return parse(Answer(HTTPStatus.OK, {}, answer.body.encode()), uri)

    def _bearer(self) -> Mapping[str, str] | None:
        """Return the header that says who asks; None if nobody can."""
        if self.anonymous:
            return {}
        token = self._own_token() or self._machines_token()
        return None if token is None else {"Authorization": f"Bearer {token}"}

    def _own_token(self) -> str | None:
        # Here, because signing needs what opens stores.
        from wildcast_server.store._presign_gcs import service_account

        with suppress(PresignError):
            return service_account(self.environ, f"gs://{self.bucket}").token(int(time.time()))
        return None

    def _machines_token(self) -> str | None:
        """Ask the metadata service ("About VM metadata"), which is never behind a proxy."""
        host = self.environ.get("GCE_METADATA_HOST") or _METADATA_HOST
        request = Request(f"http://{host}{_METADATA_PATH}", headers={"Metadata-Flavor": "Google"})
        opener = build_opener(ProxyHandler({}))
        with suppress(OSError, ValueError, KeyError), opener.open(request, timeout=_METADATA_TIMEOUT) as answer:
            return str(json.load(answer)["access_token"])
        return None


def _time(upload: "Element") -> datetime | None:
    with suppress(ValueError):
        return datetime.fromisoformat(text_of(upload, "Initiated"))
    return None
