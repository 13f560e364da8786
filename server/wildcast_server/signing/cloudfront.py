"""CloudFront's signed URLs and cookies."""

import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Literal, assert_never
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from wildcast.contract.naming import quote_key
from wildcast.contract.policy import MAX_URL_BYTES, Policy, PolicyError, b64_encode, encode_policy
from wildcast_server.errors import InvalidKeyPairError, SettingsError, SigningError
from wildcast_server.signing.base import SignedCookies, SignedLink, Signer, checked_key
from wildcast_server.signing.keys import PrivateKey

HashAlgorithm = Literal["SHA1", "SHA256"]
"""SHA1 is what CloudFront assumes for both kinds of key where a URL names none."""

HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    # CloudFront's default, in a signature that lives for hours; the choice is the user's (cloudfront_hash_algorithm).
    "SHA1": hashes.SHA1,
    "SHA256": hashes.SHA256,
}

DEFAULT_PORTS = {"http": 80, "https": 443}

_DOMAIN = re.compile(
    r"(?:(https?)://)?([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?",
    re.IGNORECASE | re.ASCII,
)


class CloudFrontSigner(Signer):
    """Signs with a custom policy, as the Amazon CloudFront Developer Guide says.

    Parameters
    ----------
    domain
        Of the distribution, with or without scheme (``https`` if none) and final slash.
    key_pair_id
        The id under which CloudFront, or an edge of our own, knows the public half of `private_key`.
    private_key
        RSA of 2,048 bits (signs PKCS #1 v1.5) or ECDSA on P-256 (signs DER).
    expires_in
        How long signatures last if nothing else is asked for, in seconds.
    hash_algorithm
        Named in the URL and the cookies if it is not SHA1.
    clock
        Gives seconds since the epoch.

    Raises
    ------
    SettingsError
        If the domain is not one, or `expires_in` not positive.
    InvalidKeyPairError
        If the key pair's id has characters that a URL would change.
    """

    def __init__(
        self,
        domain: str,
        key_pair_id: str,
        private_key: PrivateKey,
        *,
        expires_in: int = 3600,
        hash_algorithm: HashAlgorithm = "SHA1",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", key_pair_id):
            raise InvalidKeyPairError("a CloudFront key pair id has letters and digits only, such as K2JCJMDEHXQW5F")
        if hash_algorithm not in HASHES:
            raise SettingsError(f"the hash algorithm of signatures is one of {', '.join(HASHES)}")
        self.base_url = normalize_domain(domain)
        self.key_pair_id = key_pair_id
        self._private_key = private_key
        self._expires_in = _positive(expires_in)
        self._hash_algorithm = hash_algorithm
        self._clock = clock

    def __repr__(self) -> str:
        """Show what it signs for, and not its key."""
        return f"CloudFrontSigner({self.base_url!r}, {self.key_pair_id!r})"

    def sign_url(
        self, path: str, *, expires_in: int | None = None, starts: datetime | None = None, ip: str | None = None
    ) -> SignedLink:
        """Sign one key, or everything below a prefix; see `Signer.sign_url`."""
        policy = self._policy(self._resource(path), expires_in, starts, ip)
        query = "&".join(f"{name}={value}" for name, value in self._signature(policy).items())
        url = f"{policy.resource}?{query}"
        if len(url) > MAX_URL_BYTES:
            raise SigningError(f"the signed URL of this path would have {len(url)} bytes; CloudFront takes 8,192")
        return SignedLink(url, policy.expires_at)

    def sign_cookies(
        self, prefix: str, *, expires_in: int | None = None, starts: datetime | None = None, ip: str | None = None
    ) -> SignedCookies:
        """Make the cookies that open everything below `prefix`; see `Signer.sign_cookies`."""
        policy = self._policy(self._resource(f"{checked_key(prefix)}/*"), expires_in, starts, ip)
        return SignedCookies(
            cookies={f"CloudFront-{name}": value for name, value in self._signature(policy).items()},
            domain=urlsplit(self.base_url).hostname or "",
            path=f"/{quote_key(prefix)}/",
            expires_at=policy.expires_at,
        )

    def _resource(self, path: str) -> str:
        prefix, slash, last = path.rpartition("/")
        if slash and last == "*":
            return f"{self.base_url}/{quote_key(checked_key(prefix))}/*"
        return f"{self.base_url}/{quote_key(checked_key(path))}"

    def _policy(self, resource: str, expires_in: int | None, starts: datetime | None, ip: str | None) -> Policy:
        if starts is not None and starts.tzinfo is None:
            raise SigningError("the time from which a signature holds must name its zone")
        seconds = self._expires_in if expires_in is None else _positive(expires_in)
        begins = None if starts is None else int(starts.timestamp())
        try:
            return Policy(resource, int(self._clock()) + seconds, begins, ip)
        except PolicyError as error:
            raise SigningError(f"this cannot be signed: {error}") from error

    def _signature(self, policy: Policy) -> dict[str, str]:
        text = encode_policy(policy)
        fields = {
            "Policy": b64_encode(text),
            "Signature": b64_encode(raw_signature(self._private_key, text, self._hash_algorithm)),
            "Key-Pair-Id": self.key_pair_id,
        }
        if self._hash_algorithm != "SHA1":
            fields["Hash-Algorithm"] = self._hash_algorithm
        return fields


def raw_signature(key: PrivateKey, text: bytes, hash_algorithm: HashAlgorithm) -> bytes:
    """Sign `text` as CloudFront wants it, not yet encoded."""
    algorithm = HASHES[hash_algorithm]()
    match key:
        case rsa.RSAPrivateKey():
            return key.sign(text, padding.PKCS1v15(), algorithm)
        case ec.EllipticCurvePrivateKey():
            return key.sign(text, ec.ECDSA(algorithm))
        case _:
            assert_never(key)


def normalize_domain(domain: str) -> str:
    """Return ``scheme://host`` or ``scheme://host:port`` in lower case, without the scheme's own port.

    Raises
    ------
    SettingsError
        If there is more to it than scheme, host, port and a final slash.
    """
    match = _DOMAIN.fullmatch(domain)
    if match is None:
        raise SettingsError(f"{domain!r} is not a CDN's domain; write it like https://d111111abcdef8.cloudfront.net")
    scheme, host, port = (match[1] or "https").lower(), match[2].lower(), match[3]
    is_default = port is None or int(port) == DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}" if is_default else f"{scheme}://{host}:{int(port)}"


def _positive(seconds: int) -> int:
    if seconds < 1:
        raise SigningError("a signature must last at least a second")
    return seconds
