"""Who may do what: switches that a test turns, and credentials that end."""

import re
import time
from dataclasses import dataclass
from urllib.parse import unquote

from .messages import RefusedError, Request

_KEY_ID = re.compile(r"Credential=([^/,]+)/")
_EXPIRY = re.compile(r"AK(\d+)")


@dataclass
class Switches:
    """What a test turns on and off by ``PUT /_control/switches?name=true``."""

    access_denied: bool = False
    no_such_bucket: bool = False
    unavailable: bool = False
    """Answer 503 to all."""
    exact_etags: bool = False
    """Refuse a part's ETag unless it comes back quotes and all; S3 itself takes either."""

    def turn(self, name: str, *, on: bool) -> None:
        """Turn one switch."""
        if name not in self.__dataclass_fields__:
            raise RefusedError(400, "InvalidArgument", f"there is no switch {name}")
        setattr(self, name, on)


class Access:
    """Lets requests in.

    Parameters
    ----------
    switches
        What a test turned on.
    token_seconds
        How long an access key may live, at most: keys look like ``AK<seconds since the epoch at which they end>…``.
        None lets everybody in. Signatures are never looked at.
    """

    def __init__(self, switches: Switches, token_seconds: float | None) -> None:
        self.switches = switches
        self._token_seconds = token_seconds

    def check(self, request: Request) -> None:
        """Raise `RefusedError` if a request is not to be served."""
        switches = self.switches
        if switches.unavailable:
            raise RefusedError(503, "ServiceUnavailable")
        if self._token_seconds is not None:
            self._check_key(request, self._token_seconds)
        if switches.access_denied:
            raise RefusedError(403, "AccessDenied")
        if switches.no_such_bucket:
            raise RefusedError(404, "NoSuchBucket", "The specified bucket does not exist")

    def _check_key(self, request: Request, lifetime: float) -> None:
        expiry = _EXPIRY.match(_access_key(request))
        now = time.time()
        # A second's grace, as an expiry in whole seconds may be rounded up.
        if expiry is None or float(expiry[1]) > now + lifetime + 1:
            raise RefusedError(403, "InvalidAccessKeyId")
        if float(expiry[1]) <= now:
            raise RefusedError(400, "ExpiredToken", "The provided token has expired.")


def _access_key(request: Request) -> str:
    signed = _KEY_ID.search(request.head.get(b"authorization") or "")
    if signed:
        return signed[1]
    return unquote(request.asked("X-Amz-Credential")).partition("/")[0]
