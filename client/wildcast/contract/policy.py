"""CloudFront policies and signed URLs: their text, what they permit, and how they are shown without their secret.

The rules are those of the Amazon CloudFront Developer Guide, "Use signed URLs" and "Create a signed URL using a
custom policy". Nothing here signs or verifies a signature.
"""

import base64
import binascii
import ipaddress
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

SIGNATURE_PARAMETERS = frozenset({"Policy", "Expires", "Signature", "Key-Pair-Id", "Hash-Algorithm"})
"""The query parameters that belong to CloudFront; it removes them before it asks the origin."""

MAX_URL_BYTES = 8192
"""The longest URL that CloudFront takes, query included."""

_SHOWN = frozenset({"Key-Pair-Id", "Hash-Algorithm", "Expires"})
_MAX_EPOCH = 253_402_300_799  # the last second that a datetime can hold
_RESOURCE = re.compile(r"(?:https?|\*)://[!#-\[\]-~]+")  # ASCII without white space, quotation mark and backslash
_CIDR = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?")
_SECTIONS = re.compile(r"(https?|\*)://([^/]+)(/.*)?", re.DOTALL)
_EPOCH = re.compile(r"[0-9]{1,12}")


class PolicyError(ValueError):
    """A policy or signed URL that does not have the form that CloudFront asks for."""


@dataclass(frozen=True)
class Policy:
    """What a signature grants: one resource, until a time, perhaps from a time on, perhaps to one network.

    Parameters
    ----------
    resource
        A URL in which ``*`` stands for any characters and ``?`` for one; begins ``https://``, ``http://`` or ``*://``.
    expires
        Seconds since the epoch; the grant holds strictly before (``DateLessThan``).
    starts
        Seconds since the epoch; the grant holds strictly after (``DateGreaterThan``).
    ip
        An IPv4 address or network in CIDR form; an address alone becomes a ``/32``.

    Raises
    ------
    PolicyError
        If one of them is not of that form, or the grant would end before it starts.
    """

    resource: str
    expires: int
    starts: int | None = None
    ip: str | None = None

    def __post_init__(self) -> None:
        _check_resource(self.resource)
        _check_epoch("ends", self.expires)
        if self.starts is not None:
            _check_epoch("starts", self.starts)
            if self.starts >= self.expires:
                raise PolicyError("the policy must start before it ends")
        if self.ip is not None:
            object.__setattr__(self, "ip", _cidr(self.ip))

    @property
    def expires_at(self) -> datetime:
        """When the grant ends, in UTC."""
        return datetime.fromtimestamp(self.expires, UTC)

    def is_current(self, now: float) -> bool:
        """Whether `now` (seconds since the epoch) lies between start and end, both excluded."""
        return now < self.expires and (self.starts is None or now > self.starts)

    def admits(self, ip: str | None) -> bool:
        """Whether a client with this address may use the grant; an IPv4 address mapped into IPv6 counts as IPv4."""
        if self.ip is None:
            return True
        try:
            address = ipaddress.ip_address(ip or "")
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return (mapped or address) in ipaddress.IPv4Network(self.ip, strict=False)


def _check_resource(resource: str) -> None:
    if not resource:
        raise PolicyError("a policy without a resource would grant all that its key can sign; name one")
    if not _RESOURCE.fullmatch(resource):
        raise PolicyError(
            "a policy's resource must begin with https://, http:// or *://, and be percent-encoded ASCII"
            " without white space, quotation marks and backslashes"
        )


def _check_epoch(what: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MAX_EPOCH:
        raise PolicyError(f"when a policy {what} must be a whole number of seconds since 1970")


def _cidr(text: object) -> str:
    if isinstance(text, str) and _CIDR.fullmatch(text):
        try:
            ipaddress.IPv4Network(text, strict=False)
        except ValueError:
            pass
        else:
            return text if "/" in text else f"{text}/32"
    raise PolicyError("a policy's IP must be one IPv4 address or network, such as 192.0.2.0/24")


def encode_policy(policy: Policy) -> bytes:
    """Write the policy as the bytes that are signed: JSON in ASCII without white space, in CloudFront's own order."""
    condition: dict[str, dict[str, int | str]] = {"DateLessThan": {"AWS:EpochTime": policy.expires}}
    if policy.ip is not None:
        condition["IpAddress"] = {"AWS:SourceIp": policy.ip}
    if policy.starts is not None:
        condition["DateGreaterThan"] = {"AWS:EpochTime": policy.starts}
    statement = {"Resource": policy.resource, "Condition": condition}
    return json.dumps({"Statement": [statement]}, separators=(",", ":")).encode("ascii")


def canned_policy(url: str, expires: int) -> bytes:
    """Write the policy that ``Expires`` stands for: exactly this URL, until `expires` (seconds since the epoch)."""
    return encode_policy(Policy(url, expires))


def parse_policy(data: bytes) -> Policy:
    """Read a policy.

    Raises
    ------
    PolicyError
        Unless it is JSON of exactly one statement with a resource and an end, with known members only, each once.
    """
    if len(data) > MAX_URL_BYTES:
        raise PolicyError(f"the policy has {len(data)} bytes, more than fit into a URL")
    try:
        document = json.loads(data.decode("ascii"), object_pairs_hook=_once)
    except PolicyError:
        raise
    except (ValueError, RecursionError) as error:
        raise PolicyError("the policy is not well-formed JSON in ASCII") from error
    statements = _members(document, {"Statement"})["Statement"]
    if not isinstance(statements, list) or len(statements) != 1:
        raise PolicyError("a policy must have exactly one statement")
    statement = _members(statements[0], {"Resource", "Condition"})
    condition = _members(statement["Condition"], {"DateLessThan"}, {"DateGreaterThan", "IpAddress"})
    if not isinstance(statement["Resource"], str):
        raise PolicyError("a policy's resource must be a text")
    return Policy(
        resource=statement["Resource"],
        expires=_operand(condition, "DateLessThan", "AWS:EpochTime"),
        starts=_operand(condition, "DateGreaterThan", "AWS:EpochTime"),
        ip=_operand(condition, "IpAddress", "AWS:SourceIp"),
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise PolicyError("the policy names a member twice")
    return members


def _members(value: object, required: set[str], optional: set[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict) or not required <= value.keys() <= required | (optional or set()):
        raise PolicyError(f"a policy must have the members {', '.join(sorted(required))}, and no unknown ones")
    return value


def _operand(condition: dict[str, Any], operator: str, key: str) -> Any:
    if operator not in condition:
        return None
    value = _members(condition[operator], {key})[key]
    if value is None:
        raise PolicyError(f"the policy's {operator} has no value")
    return value


_TO_URL = bytes.maketrans(b"+=/", b"-_~")
_FROM_URL = bytes.maketrans(b"-_~", b"+=/")
_ALPHABET = re.compile(r"[A-Za-z0-9~_-]*")


def b64_encode(data: bytes) -> str:
    """Write `data` in CloudFront's base64, whose ``-``, ``_`` and ``~`` need no escaping in a URL."""
    return base64.b64encode(data).translate(_TO_URL).decode("ascii")


def b64_decode(text: str) -> bytes:
    """Read CloudFront's base64.

    Raises
    ------
    PolicyError
        For other characters, missing padding, or any text that `b64_encode` would not have written: one value has
        one form, so that a changed signature is never the same signature.
    """
    try:
        data = base64.b64decode(text.encode("ascii").translate(_FROM_URL), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise PolicyError("this is not CloudFront's form of base64") from error
    if not _ALPHABET.fullmatch(text) or b64_encode(data) != text:
        raise PolicyError("this is not CloudFront's form of base64")
    return data


def resource_matches(resource: str, url: str) -> bool:
    """Whether a policy's resource covers a URL.

    A ``*`` matches any characters and a ``?`` exactly one, within a section only: protocol, domain, path, query.
    A ``*`` at the end of the path covers the query as well, and at the end of a domain without a path, every path.
    A ``?`` also matches the question mark at which the query begins. A URL with a ``.`` or ``..`` segment, however it
    is encoded, is covered by nothing: what it would open is not what it says.

    The time is proportional to the length of `url`, whatever the resource is.
    """
    pattern, target = _SECTIONS.fullmatch(resource), _SECTIONS.fullmatch(url)
    if pattern is None or target is None or target[1] == "*" or has_dot_segments(url):
        return False
    if pattern[1] not in ("*", target[1]) or not _glob(pattern[2].lower(), target[2].lower()):
        return False
    whole = pattern[3] or ("/*" if pattern[2].endswith("*") else "/")
    path, mark, query = (target[3] or "/").partition("?")
    return _glob(whole, path, query) if mark else _glob(whole, path)


def has_dot_segments(url: str) -> bool:
    """Whether the path of `url` has a segment ``.`` or ``..``, plain, percent-encoded or between backslashes."""
    path = unquote(url.partition("?")[0])
    return any(segment in (".", "..") for segment in re.split(r"[/\\]", path))


class _Glob(NamedTuple):
    """A pattern as sets of positions, each set the bits of one number."""

    end: int
    stars: int
    ones: int
    literals: dict[str, int]

    @classmethod
    def compile(cls, pattern: str) -> "_Glob":
        literals: dict[str, int] = {}
        for position, character in enumerate(pattern):
            literals[character] = literals.get(character, 0) | 1 << position
        return cls(len(pattern), literals.pop("*", 0), literals.pop("?", 0), literals)

    def beyond_stars(self, states: int) -> int:
        return states | (states & self.stars) << 1

    def step(self, states: int, character: str) -> int:
        moved = (states & (self.literals.get(character, 0) | self.ones)) << 1
        return self.beyond_stars(moved | states & self.stars)

    def cross(self, states: int) -> int:
        return self.beyond_stars((states & self.ones) << 1)


def _glob(pattern: str, *sections: str) -> bool:
    # All ways to match are followed at once, so no pattern makes this take longer than its length times the text's.
    glob = _Glob.compile(re.sub(r"\*+", "*", pattern))
    last_star = glob.stars & 1 << max(glob.end - 1, 0)
    states = glob.beyond_stars(1)
    for number, section in enumerate(sections):
        if number:
            if states & last_star:
                return True
            states = glob.cross(states)
        for character in section:
            states = glob.step(states, character)
    return bool(states >> glob.end & 1)


class SplitQuery(NamedTuple):
    """A query string, with CloudFront's own parameters taken out."""

    signature: tuple[tuple[str, str], ...]
    """CloudFront's parameters in order, values percent-decoded; a name may occur twice."""
    rest: str
    """The others, untouched."""


def split_query(query: str) -> SplitQuery:
    """Divide a raw query string into CloudFront's parameters and the others."""
    fields = [(field, *field.partition("=")[::2]) for field in query.split("&")]
    own = tuple((name, unquote(value)) for _, name, value in fields if name in SIGNATURE_PARAMETERS)
    return SplitQuery(own, "&".join(field for field, name, _ in fields if name not in SIGNATURE_PARAMETERS))


@dataclass(frozen=True, repr=False)
class SignedUrl:
    """A signed URL, taken apart. Its `repr` and `str` show no signature."""

    base: str
    """The URL up to, and without, a final ``/*``."""
    query: str
    """The raw query string; append it unchanged to every URL below `base`."""
    policy: Policy | None
    """None if the URL carries none that CloudFront's rules can read."""
    expires_at: datetime | None
    """When it ends, in UTC; None if the URL does not say."""

    def __repr__(self) -> str:
        """Show where it leads and when it ends."""
        return f"SignedUrl(base={self.base!r}, expires_at={self.expires_at})"


def parse_signed_url(url: str) -> SignedUrl:
    """Take a signed URL apart; one without a query, or signed in another CDN's way, has neither policy nor end.

    Raises
    ------
    PolicyError
        If it is not an ``http`` or ``https`` URL of printable ASCII with a host and without a fragment.
    """
    base, _, query = url.partition("?")
    target = _SECTIONS.fullmatch(base)
    if target is None or target[1] == "*" or "#" in url or not re.fullmatch(r"[!-~]+", url):
        raise PolicyError("a signed URL must be a percent-encoded http or https URL without a fragment")
    parameters = dict(split_query(query).signature)
    policy = _readable_policy(parameters.get("Policy"))
    return SignedUrl(base.removesuffix("/*"), query, policy, _end(policy, parameters.get("Expires", "")))


def _readable_policy(text: str | None) -> Policy | None:
    try:
        return None if text is None else parse_policy(b64_decode(text))
    except PolicyError:
        return None  # the CDN judges it; here it only tells when the URL ends


def _end(policy: Policy | None, expires: str) -> datetime | None:
    if policy is not None:
        return policy.expires_at
    if _EPOCH.fullmatch(expires) and int(expires) <= _MAX_EPOCH:
        return datetime.fromtimestamp(int(expires), UTC)
    return None


def shorten_signature(url: str) -> str:
    """Return `url` for people to look at: every parameter that might be secret is shortened to ``…``."""
    base, mark, query = url.partition("#")[0].partition("?")
    return base + mark + "&".join(_shorten(field) for field in query.split("&"))


def _shorten(field: str) -> str:
    name, equals, value = field.partition("=")
    if not equals:
        return "…" if field else ""
    return f"{name}={value if name in _SHOWN else '…'}"
