"""Checks CloudFront's signed URLs and cookies, as its edge does."""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import assert_never

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from wildcast.contract.policy import (
    SIGNATURE_PARAMETERS,
    Policy,
    PolicyError,
    b64_decode,
    canned_policy,
    has_dot_segments,
    parse_policy,
    resource_matches,
    split_query,
)
from wildcast_server.errors import SignatureRefusedError
from wildcast_server.signing.cloudfront import HASHES
from wildcast_server.signing.keys import PublicKey

REMEMBERED = 1024
"""Signatures that are known to be right; each has about a kilobyte."""


class Refusal(StrEnum):
    """CloudFront's error codes."""

    MISSING_KEY = "MissingKey"
    INVALID_KEY = "InvalidKey"
    ACCESS_DENIED = "AccessDenied"


class RefusedError(SignatureRefusedError):
    """A request that no signature opens.

    Parameters
    ----------
    code
        What the client is told.
    reason
        One sentence for our own log; it has no signature in it.
    """

    def __init__(self, code: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Verifier:
    """Judges requests by the public keys that it trusts.

    Parameters
    ----------
    public_keys
        By key pair id; several while keys are being changed.
    clock
        Gives seconds since the epoch.
    """

    def __init__(self, public_keys: Mapping[str, PublicKey], clock: Callable[[], float] = time.time) -> None:
        self._public_keys = dict(public_keys)
        self._clock = clock
        # A reader sends one signature with thousands of requests; whether it grants one of them is asked each time.
        self._known = lru_cache(REMEMBERED)(self._signed)

    def check(self, url: str, *, cookie: str = "", ip: str | None = None) -> Policy:
        """Return the policy that opens `url`.

        Parameters
        ----------
        url
            As requested: the path still percent-encoded, the whole query.
        cookie
            The ``Cookie`` header. It counts only if the query has none of CloudFront's parameters.
        ip
            The client's address.

        Raises
        ------
        RefusedError
            If nothing opens it; its `code` says what CloudFront would.
        """
        base, _, query = url.partition("?")
        own, rest = split_query(query)
        resource = f"{base}?{rest}" if rest else base
        fields = own or _cookie_fields(cookie)
        is_canned = any(name == "Expires" for name, _ in fields)
        policy = self._signed(fields, resource) if is_canned else self._known(fields, "")
        return self._granted(policy, resource, ip, canned=is_canned)

    def _signed(self, given: tuple[tuple[str, str], ...], resource: str) -> Policy:
        """Return the policy that was signed; a canned one is for `resource`, from which it is built."""
        fields = _unique(given)
        public_key = self._public_key(fields)
        text = _signed_text(fields, resource)
        _verify(public_key, text, fields)
        try:
            return parse_policy(text)
        except PolicyError as error:
            raise _denied(str(error)) from error

    def _public_key(self, fields: Mapping[str, str]) -> PublicKey:
        name = fields.get("Key-Pair-Id")
        if not name:
            raise RefusedError(Refusal.MISSING_KEY, "the request has no Key-Pair-Id")
        if name not in self._public_keys:
            raise RefusedError(Refusal.INVALID_KEY, "the request names a key that is not known here")
        return self._public_keys[name]

    def _granted(self, policy: Policy, resource: str, ip: str | None, *, canned: bool) -> Policy:
        if not policy.is_current(self._clock()):
            raise _denied("the signature has ended or not begun")
        if not policy.admits(ip):
            raise _denied("the signature is for another network")
        # A canned policy was built from the request itself, wildcards and all, and so opens this one URL.
        if has_dot_segments(resource) or not (canned or resource_matches(policy.resource, resource)):
            raise _denied("the signature is for another resource")
        return policy


def _denied(reason: str) -> RefusedError:
    return RefusedError(Refusal.ACCESS_DENIED, reason)


def _cookie_fields(cookie: str) -> tuple[tuple[str, str], ...]:
    pairs = (part.strip().partition("=") for part in cookie.split(";"))
    fields = ((name.removeprefix("CloudFront-"), value) for name, _, value in pairs if name.startswith("CloudFront-"))
    return tuple((name, value) for name, value in fields if name in SIGNATURE_PARAMETERS)


def _unique(fields: tuple[tuple[str, str], ...]) -> dict[str, str]:
    if any(count > 1 for count in Counter(name for name, _ in fields).values()):
        raise _denied("the request has a signature parameter twice")
    return dict(fields)


def _signed_text(fields: Mapping[str, str], resource: str) -> bytes:
    match fields:
        case {"Policy": _, "Expires": _}:
            raise _denied("the request has both a policy and an end")
        case {"Policy": policy}:
            return _decoded(policy)
        case {"Expires": expires} if re.fullmatch(r"[0-9]{1,12}", expires):
            try:
                return canned_policy(resource, int(expires))
            except PolicyError as error:
                raise _denied(str(error)) from error
        case _:
            raise _denied("the request has neither a policy nor an end")


def _decoded(text: str) -> bytes:
    try:
        return b64_decode(text)
    except PolicyError as error:
        raise _denied(str(error)) from error


def _verify(key: PublicKey, text: bytes, fields: Mapping[str, str]) -> None:
    signature = _decoded(fields.get("Signature", ""))
    algorithm = HASHES.get(fields.get("Hash-Algorithm", "SHA1"))
    if algorithm is None:
        raise _denied("the request names a hash algorithm that CloudFront does not know")
    try:
        match key:
            case rsa.RSAPublicKey():
                key.verify(signature, text, padding.PKCS1v15(), algorithm())
            case ec.EllipticCurvePublicKey():
                key.verify(signature, text, ec.ECDSA(algorithm()))
            case _:
                assert_never(key)
    except InvalidSignature:
        raise _denied("the signature is wrong") from None
