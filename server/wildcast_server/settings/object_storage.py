"""The settings of object storage and of the CDN in front of it.

Names, variables and defaults are those of Earth2Studio's object storage, with the parameters of NIXL's object
plugin beside them; DESIGN says where ours differ (`max_concurrency`, acceleration).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator

from wildcast.contract.naming import RESERVED, InvalidPathError, check_key
from wildcast_server.settings import keys
from wildcast_server.settings.conflicts import Conflict, ConflictError
from wildcast_server.settings.spelling import normalised
from wildcast_server.settings.values import (
    ReadableFile,
    Section,
    TextMapping,
    WholeNumber,
    base_url,
    check_store_uri,
    origin_url,
    parse_url,
)

MIB = 1024 * 1024
MIN_PART_SIZE = 5 * MIB
MAX_PART_SIZE = 5 * 1024 * MIB
"""The size of a part, in bytes (Amazon S3 User Guide, "Amazon S3 multipart upload limits")."""

MAX_TAGS = 10
MAX_TAG_KEY, MAX_TAG_VALUE = 128, 256
"""Tags of an object, in characters (Amazon S3 User Guide, "Categorizing your objects using tags")."""

TEN_YEARS = 10 * 365 * 86_400

_UNREADABLE_CLASSES = {"GLACIER", "DEEP_ARCHIVE"}


@dataclass(frozen=True)
class Acceleration:
    """Whether S3 Transfer Acceleration is used, and why."""

    on: bool
    why: str


def _concurrency(value: Any) -> Any:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("it must be auto or a whole number of at least 1")


class ObjectStorageSettings(Section):
    """Where results are published, how they get there, and how they are signed."""

    enabled: bool = False

    store: str | None = None
    """``file://``, ``s3://``, ``gs://``, ``az://`` or ``memory://``."""
    bucket: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$")
    """The same as the store ``s3://<bucket>``."""
    prefix: str = "outputs"
    """Below which publications lie; may be empty."""
    region: str = Field(default="us-east-1", pattern=r"^[A-Za-z0-9-]+$")

    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None

    scheme: Literal["http", "https"] = "https"
    """Of an endpoint that is given without one."""
    endpoint_url: str | None = None
    use_virtual_addressing: bool = False
    ca_bundle: ReadableFile | None = None
    proxy_url: SecretStr | None = None
    """May hold a user and password."""
    req_checksum: Literal["required", "supported"] | None = None
    """When request checksums are computed: only where S3 requires them, or wherever it supports them."""

    use_transfer_acceleration: bool = True
    """Wherever it can be; `acceleration` says whether it is."""
    max_concurrency: Annotated[int | Literal["auto"], BeforeValidator(_concurrency)] = "auto"
    """Transfers at the same time; a number is a hard bound."""
    multipart_chunksize: WholeNumber = Field(default=8 * MIB, ge=MIN_PART_SIZE, le=MAX_PART_SIZE)
    """In bytes."""
    retry_deadline: WholeNumber = Field(default=180, ge=1)
    """For how long an object is tried again that met an outage, in seconds."""
    use_rust_client: bool = True
    crt_min_limit: WholeNumber | None = Field(default=None, ge=0)
    """From this size on, in bytes, objects go through the AWS Common Runtime's client; None never uses it."""

    sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    sse_kms_key_id: str | None = Field(default=None, min_length=1)
    storage_class: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]*$")
    tags: TextMapping = Field(default={})

    cloudfront_domain: str | None = None
    """Normalised to ``scheme://host[:port]``."""
    cloudfront_key_pair_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]+$")
    cloudfront_private_key: SecretStr | None = None
    """A PEM; a path given here lands in `cloudfront_private_key_path`."""
    cloudfront_private_key_path: ReadableFile | None = Field(default=None, repr=False)
    """A path; a PEM given here lands in `cloudfront_private_key`."""
    cloudfront_distribution_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9]+$")
    """Of the distribution that is told to forget what is removed; None: cached copies stay until they are old."""
    cloudfront_hash_algorithm: Literal["SHA1", "SHA256"] = "SHA1"
    signed_url_expires_in: WholeNumber = Field(default=3600, ge=1, le=TEN_YEARS)
    """In seconds."""

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, values: Any) -> Any:
        return normalised(values) if isinstance(values, dict) else values

    @field_validator("store")
    @classmethod
    def _check_store(cls, value: str | None) -> str | None:
        return value if value is None else check_store_uri(value)

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        prefix = value.strip("/")
        if prefix:
            try:
                check_key(prefix)
            except InvalidPathError as error:
                raise ValueError(f"it must be a relative path: {error}") from error
        if any(character in prefix for character in "*?"):
            raise ValueError("it must not contain * or ?, which a signed URL would read as wildcards")
        if RESERVED in prefix.split("/"):
            raise ValueError(f"{RESERVED} is reserved for wildcast itself")
        return prefix

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        return base_url(value if "://" in value else f"{info.data.get('scheme', 'https')}://{value}")

    @field_validator("proxy_url")
    @classmethod
    def _check_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            text = value.get_secret_value()
            scheme, _, rest = text.partition("://")
            parse_url(f"{scheme}://{rest.rpartition('@')[2]}", schemes=("http", "https", "socks5"))
        return value

    @field_validator("cloudfront_domain")
    @classmethod
    def _check_domain(cls, value: str | None) -> str | None:
        return value if value is None else origin_url(value if "://" in value else f"https://{value}")

    @field_validator("cloudfront_private_key")
    @classmethod
    def _check_pem(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value is None else SecretStr(keys.check_pem(value.get_secret_value()))

    @field_validator("cloudfront_private_key_path")
    @classmethod
    def _check_key_file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.context is not None:
            keys.check_pem_file(value)
        return value

    @field_validator("storage_class")
    @classmethod
    def _check_storage_class(cls, value: str | None) -> str | None:
        if value in _UNREADABLE_CLASSES:
            raise ValueError(f"objects of the class {value} cannot be read at once; choose another")
        return value

    @field_validator("tags")
    @classmethod
    def _check_tags(cls, value: dict[str, str]) -> dict[str, str]:
        if len(value) > MAX_TAGS:
            raise ValueError(f"an object has at most {MAX_TAGS} tags")
        if any(not 1 <= len(key) <= MAX_TAG_KEY or len(text) > MAX_TAG_VALUE for key, text in value.items()):
            raise ValueError(f"a tag's key has 1 to {MAX_TAG_KEY} characters and its value at most {MAX_TAG_VALUE}")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> "ObjectStorageSettings":
        if conflicts := _conflicts(self):
            raise ConflictError(conflicts)
        return self

    @property
    def configured_uri(self) -> str | None:
        """The store that was named, by `store` or by `bucket`; None for the embedded one."""
        if self.store is not None:
            return self.store
        return None if self.bucket is None else f"s3://{self.bucket}"

    @property
    def s3_bucket(self) -> str | None:
        """The bucket, if the store speaks S3."""
        parts = urlsplit(self.configured_uri or "")
        return parts.netloc if parts.scheme == "s3" else None

    @property
    def has_cloudfront(self) -> bool:
        """Whether URLs are signed for a CloudFront distribution; otherwise they are for the edge of our own."""
        return self.cloudfront_domain is not None

    @property
    def signing_key(self) -> SecretStr | None:
        """The private key for CloudFront, as PEM text or as the path of one."""
        if self.cloudfront_private_key_path is not None:
            return SecretStr(str(self.cloudfront_private_key_path))
        return self.cloudfront_private_key

    @property
    def acceleration(self) -> Acceleration:
        """Whether S3 Transfer Acceleration is used, and why (Amazon S3 User Guide, "Transfer Acceleration")."""
        if not self.use_transfer_acceleration:
            return Acceleration(on=False, why="use_transfer_acceleration is false")
        if self.s3_bucket is None:
            return Acceleration(on=False, why="the store is not Amazon S3")
        if self.endpoint_url is not None:
            return Acceleration(on=False, why="endpoint_url names an endpoint of its own, which has none")
        if "." in self.s3_bucket:
            return Acceleration(on=False, why="it does not work with a bucket that has a dot in its name")
        return Acceleration(on=True, why="use_transfer_acceleration is true")


def _conflicts(section: ObjectStorageSettings) -> list[Conflict]:
    """Find everything that does not go together."""
    return [
        *_store(section),
        *_credentials(section),
        *_cloudfront(section),
        *_encryption(section),
        *_acceleration(section),
    ]


def _store(section: ObjectStorageSettings) -> Iterator[Conflict]:
    if section.bucket is not None and section.s3_bucket != section.bucket:
        yield Conflict("store and bucket name different places: give one of them", ("store", "bucket"))


def _credentials(section: ObjectStorageSettings) -> Iterator[Conflict]:
    pair = {"access_key_id": section.access_key_id, "secret_access_key": section.secret_access_key}
    given = tuple(name for name, value in pair.items() if value is not None)
    missing = tuple(name for name, value in pair.items() if value is None)
    if given and missing:
        yield Conflict(f"{given[0]} is set without {missing[0]}: set both or neither", given)
    if section.session_token is not None and missing:
        yield Conflict(
            "session_token is set without access_key_id and secret_access_key, to which it belongs",
            ("session_token",),
        )


def _cloudfront(section: ObjectStorageSettings) -> Iterator[Conflict]:
    if section.cloudfront_private_key is not None and section.cloudfront_private_key_path is not None:
        yield Conflict(
            "cloudfront_private_key and cloudfront_private_key_path are both set: give one",
            ("cloudfront_private_key", "cloudfront_private_key_path"),
        )
    if section.cloudfront_distribution_id is not None and section.cloudfront_domain is None:
        yield Conflict("cloudfront_distribution_id is set without cloudfront_domain", ("cloudfront_distribution_id",))
    parts = {
        "cloudfront_domain": section.cloudfront_domain,
        "cloudfront_key_pair_id": section.cloudfront_key_pair_id,
        "cloudfront_private_key_path (or cloudfront_private_key)": section.signing_key,
    }
    given = tuple(name.partition(" ")[0] for name, value in parts.items() if value is not None)
    missing = [name for name, value in parts.items() if value is None]
    if given and missing:
        yield Conflict(
            f"CloudFront is half configured: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing",
            given,
        )


def _encryption(section: ObjectStorageSettings) -> Iterator[Conflict]:
    if section.sse_kms_key_id is not None and not (section.sse or "").startswith("aws:kms"):
        yield Conflict("sse_kms_key_id needs sse to be aws:kms or aws:kms:dsse", ("sse_kms_key_id",))


def _acceleration(section: ObjectStorageSettings) -> Iterator[Conflict]:
    explicit = "use_transfer_acceleration" in section.model_fields_set and section.use_transfer_acceleration
    if explicit and section.endpoint_url is None and "." in (section.s3_bucket or ""):
        yield Conflict(
            "transfer acceleration does not work with a bucket that has a dot in its name: "
            "set use_transfer_acceleration to false, or name another bucket",
            ("use_transfer_acceleration",),
        )
