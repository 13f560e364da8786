"""How to reach an object store, apart from its URI."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from wildcast_server.errors import SettingsError

CONNECT_TIMEOUT = timedelta(seconds=5)
"""How long making a connection may take; eleven tries, the default, are a minute."""


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """How to reach an object store.

    GCS and Azure heed the endpoint and its scheme, certificates, proxy, storage class, tags, the part size, time-outs
    and repetitions, take their credentials from the standard variables of their own environments, and refuse `sse`.
    All else is about S3.
    """

    region: str = "us-east-1"
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    endpoint_url: str | None = None
    """Of an S3-compatible store; None means AWS itself."""
    scheme: Literal["http", "https"] = "https"
    """With which AWS itself is spoken to, and an endpoint that has none."""
    use_virtual_addressing: bool = False
    """Whether the bucket is part of the host name rather than of the path."""
    acceleration: bool = False
    """Whether to write through S3 Transfer Acceleration, where the bucket has it."""
    ca_bundle: Path | None = None
    """Certificates in PEM form to trust besides the system's."""
    proxy_url: str | None = field(default=None, repr=False)
    req_checksum: Literal["required", "supported"] | None = None
    """When to send a CRC64NVME along: only if it must be, or always. None: to AWS always, to others not."""
    trust_checksums: bool | None = None
    """Whether the store refuses bytes that differ from the checksum sent along. None: AWS does, others may not."""
    sse: str | None = None
    """Server-side encryption: ``AES256``, ``aws:kms`` or ``aws:kms:dsse``."""
    sse_kms_key_id: str | None = None
    storage_class: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """Put on each object."""
    use_rust_client: bool = True
    """Whether objects are written by the Rust client; if not, by boto3."""
    crt_min_limit: int | None = None
    """From this size on, in bytes, objects are written by the AWS Common Runtime's client; None: never."""
    part_size: int = 8 << 20
    """The largest request body that is usual, in bytes: the time-outs fit it."""
    scratch: str = ""
    """The prefix below which a small object may be written to find out what the store can do; may be empty."""
    retry_deadline: float = 180.0
    """For how long a request that met an outage is tried again, in seconds."""
    max_retries: int | None = None
    """How often a request that met an outage is repeated, at most; None: as often as `retry_deadline` allows."""
    response_timeout: float = 20.0
    """For how long a store may be silent, in seconds; a request with a body has a second more for each 128 KiB."""
    max_connections: int = 512
    """How many connections boto3, and our own requests to S3, keep open for later ones, at most."""

    def __post_init__(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise SettingsError("an access key id and a secret access key go together: give both, or neither")

    @property
    def sends_crc64nvme(self) -> bool:
        """Whether writes carry a CRC64NVME."""
        if self.trust_checksums or self.req_checksum == "supported":
            return True
        return self.req_checksum is None and self.endpoint_url is None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not show up in any text."""
        return tuple(filter(None, (self.secret_access_key, self.session_token, self.proxy_url)))
