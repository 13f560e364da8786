"""The kinds of value that settings have, and how each is read from text.

Paths are made absolute, and files are looked at, only where the validation's context names a working directory
(`load_settings` does): constructing a section by hand touches no disk.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

STORE_SCHEMES = ("file", "s3", "gs", "az", "memory")


class Section(BaseModel):
    """A part of the tree: frozen, and closed against names that it does not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


class FrozenDict(dict[str, Any]):
    """A dictionary that cannot be changed; its nested dictionaries and lists are frozen as well.

    A subclass of `dict`, so that JSON encoders, ``**`` and pickling take it as it is.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__({key: freeze(value) for key, value in (values or {}).items()})

    def _refuse(self, *_args: Any, **_keywords: Any) -> NoReturn:
        raise TypeError("settings cannot be changed once they are loaded")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type["FrozenDict"], tuple[dict[str, Any]]]:
        return FrozenDict, (dict(self),)


def freeze(value: Any) -> Any:
    """Return `value` with every mapping in it a `FrozenDict` and every list a tuple."""
    if isinstance(value, Mapping):
        return FrozenDict(value)
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def _split(separator: str) -> Callable[[Any], Any]:
    def split(value: Any) -> Any:
        """Take a text apart: a JSON list, or items between separators."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return from_json(value)
        return tuple(item.strip() for item in value.split(separator) if item.strip())

    return split


def _split_paths(value: Any, info: ValidationInfo) -> Any:
    """Take a text apart: a JSON list, or paths between the system's separators or commas."""
    paths = _split(os.pathsep)(value)
    if not isinstance(value, str) or value.lstrip().startswith("["):
        return paths
    return tuple(path for item in paths for path in _between_commas(item, info))


def _between_commas(text: str, info: ValidationInfo) -> Iterator[str]:
    """Take a text apart at commas; where one is in the name of a directory that exists, it stays."""
    pieces = text.split(",")
    while pieces:
        # The longest one that there is.
        lengths = range(len(pieces), 1, -1) if info.context else ()
        length = next((n for n in lengths if _anchor(Path(",".join(pieces[:n]).strip()), info).is_dir()), 1)
        if first := ",".join(pieces[:length]).strip():
            yield first
        del pieces[:length]


def from_json(value: Any) -> Any:
    """Read a value that is given as text; raises `ValueError` without repeating it."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("it must be JSON when it is given as text") from None


def _anchor(path: Path, info: ValidationInfo) -> Path:
    cwd = (info.context or {}).get("cwd")
    return path if cwd is None else cwd / path.expanduser()


def _path_text(value: Any) -> Any:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("it must be a path, and not empty")
    return value


def _readable(path: Path, info: ValidationInfo) -> Path:
    if info.context is not None:
        read_head(path)
    return path


def read_head(path: Path, size: int = 65536) -> bytes:
    """Read at most `size` bytes from the start of a file.

    Raises
    ------
    ValueError
        If it cannot be read. The sentence leaves the path out: what stands there may be a secret put into the wrong
        setting.
    """
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise ValueError(f"the file cannot be read ({os.strerror(error.errno or 0)}); check the path") from error


def parse_url(value: str, *, schemes: tuple[str, ...] = ("http", "https")) -> SplitResult:
    """Take a base URL apart.

    Raises
    ------
    ValueError
        If it has another scheme, no host, a user or password, a query or a fragment. Nothing of it is repeated.
    """
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("it is not a URL") from None
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"it must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it must not hold a user or password: name credentials in their own settings")
    if parts.query or parts.fragment or any(character.isspace() for character in value):
        raise ValueError("it must be a base URL, without spaces, query and fragment")
    return parts


def base_url(value: str) -> str:
    """Check a URL to which paths are appended; return it without a trailing slash."""
    parts = parse_url(value)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def origin_url(value: str) -> str:
    """Check ``scheme://host[:port]``; return it without a trailing slash."""
    if parse_url(value).path.strip("/"):
        raise ValueError("it must be scheme, host and port alone, without a path")
    return base_url(value)


def check_store_uri(value: str) -> str:
    """Check the URI of a store; return it without a trailing slash.

    Raises
    ------
    ValueError
        If its scheme is unknown, it lacks its bucket, or a ``file://`` path is not absolute.
    """
    parts = parse_uri(value)
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError("it must hold an absolute path after file://, such as file:///srv/objects")
        return f"file://{parts.path.rstrip('/') or '/'}"
    if not parts.netloc and parts.scheme != "memory":
        raise ValueError(f"it must name a bucket or container after {parts.scheme}://")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def parse_uri(value: str) -> SplitResult:
    """Take a store's URI apart; raises as `check_store_uri` does."""
    try:
        parts = urlsplit(value)
    except ValueError:
        raise ValueError("it is not a URI") from None
    if parts.scheme not in STORE_SCHEMES or "://" not in value:
        raise ValueError(f"it must be a URI that begins with {', '.join(f'{scheme}://' for scheme in STORE_SCHEMES)}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("it must hold a bucket and a path alone: credentials and options have settings of their own")
    return parts


def _origin_or_any(value: str) -> str:
    return value if value == "*" else origin_url(value)


def listening_url(host: str, port: int) -> str:
    """Return the URL under which a server that listens on `host` is reached from its own machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - it replaces it
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def is_loopback(host: str) -> bool:
    """Whether who listens on `host` is reached from this machine alone."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def is_wildcard(host: str) -> bool:
    """Whether `host` stands for every interface, and so is no address to connect to."""
    address = _address(host)
    return address is not None and address.is_unspecified


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        raise ValueError("it must be a network such as 10.0.0.0/8, without bits behind its length") from None


def _not_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("it must be a whole number")  # noqa: TRY004 - pydantic collects ValueErrors alone
    return value


WholeNumber = Annotated[int, BeforeValidator(_not_boolean)]
LocalPath = Annotated[Path, BeforeValidator(_path_text), AfterValidator(_anchor)]
ReadableFile = Annotated[LocalPath, AfterValidator(_readable)]
BaseUrl = Annotated[str, AfterValidator(base_url)]
OriginUrl = Annotated[str, AfterValidator(origin_url)]
Paths = Annotated[tuple[LocalPath, ...], BeforeValidator(_split_paths)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split(","))]
CorsOrigins = Annotated[tuple[Annotated[str, AfterValidator(_origin_or_any)], ...], BeforeValidator(_split(","))]
TextMapping = Annotated[dict[str, str], BeforeValidator(from_json), AfterValidator(FrozenDict)]
NestedMapping = Annotated[dict[str, dict[str, Any]], BeforeValidator(from_json), AfterValidator(FrozenDict)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(_split(","))]
SecondsMapping = Annotated[
    dict[str, Annotated[float, Field(gt=0)] | None], BeforeValidator(from_json), AfterValidator(FrozenDict)
]
