"""The small sections of the tree; object storage has its own module."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from wildcast_server.settings.values import (
    BaseUrl,
    CorsOrigins,
    LocalPath,
    Names,
    NestedMapping,
    OriginUrl,
    Paths,
    Section,
    TextMapping,
    WholeNumber,
    listening_url,
)

Port = Annotated[WholeNumber, Field(ge=0, le=65535)]
"""A TCP port; 0 takes a free one."""

Host = Annotated[str, Field(min_length=1, pattern=r"^[^\s/@]+$")]


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class LogSettings(Section):
    """What the processes write about their work."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    format: Literal["text", "json"] = "text"


class DatabaseSettings(Section):
    """Where the records are."""

    url: SecretStr | None = None
    """An SQLAlchemy URL; it may hold a password. Without one: SQLite in `data_dir`."""

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: SecretStr | None) -> SecretStr | None:
        scheme, separator, _ = (value.get_secret_value() if value else "sqlite://").partition("://")
        dialect, _, driver = scheme.partition("+")
        if not separator or not dialect.isalnum() or not (driver or "x").isidentifier():
            raise ValueError("it must be a database URL such as sqlite:////srv/wildcast.sqlite")
        return value


class ApiSettings(Section):
    """The service's HTTP face."""

    host: Host = "127.0.0.1"
    port: Port = 8000
    public_url: BaseUrl | None = None
    """Under which clients reach it, where that differs from host and port."""
    max_body_bytes: WholeNumber = Field(default=1_048_576, ge=1)
    """The longest request body that is read, in bytes."""

    @property
    def url(self) -> str:
        """Under which clients reach it, without a trailing slash."""
        return self.public_url or listening_url(self.host, self.port)


class EdgeSettings(Section):
    """The CDN edge of our own."""

    enabled: bool = True
    host: Host = "127.0.0.1"
    port: Port = 8001
    public_url: OriginUrl | None = None
    """Scheme, host and port that its signed URLs begin with, where they differ from those it listens on."""
    cors_origins: CorsOrigins = ("*",)
    """The origins whose pages may read through it."""
    public_keys: TextMapping = Field(default={})
    """By key pair id: further public keys whose signatures it accepts, each a PEM or the path of one."""

    @property
    def url(self) -> str:
        """What its signed URLs begin with, without a trailing slash."""
        return self.public_url or listening_url(self.host, self.port)


class WorkflowSettings(Section):
    """Which workflows there are, and what they are configured with."""

    directories: Paths = ()
    """Searched for workflow files, in this order."""
    exposed: Names | None = None
    """The names that clients may use; None exposes all."""
    config: NestedMapping = Field(default={}, repr=False)
    """By workflow name: the values of that workflow's own ``Config``."""
    warm_up: Names = ()
    """The names of those that are constructed when the service starts, before their first execution."""
    max_queued: WholeNumber = Field(default=1000, ge=1)
    """How many executions may wait; further submissions are refused."""


class ResultSettings(Section):
    """What happens to output directories."""

    output_dir: LocalPath | None = None
    """Where executions write; without one, ``outputs`` in `data_dir`."""
    keep_local_output: bool = False
    """Whether an output directory stays after its publication to object storage was verified."""
    publish_live: bool = True
    """Whether files go to object storage while the workflow still computes, as soon as they have settled."""
    min_free_disk_bytes: WholeNumber = Field(default=1_073_741_824, ge=0)
    """Below this much free space at the output directory, in bytes, submissions are refused; 0 never refuses."""
