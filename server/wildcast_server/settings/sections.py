"""The small sections of the tree; object storage has its own module."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator

from wildcast_server.settings.values import (
    BaseUrl,
    CorsOrigins,
    FrozenDict,
    LocalPath,
    Names,
    NestedMapping,
    Networks,
    OriginUrl,
    Paths,
    SecondsMapping,
    Section,
    TextMapping,
    WholeNumber,
    from_json,
    listening_url,
)

Port = Annotated[WholeNumber, Field(ge=0, le=65535)]
"""A TCP port; 0 takes a free one."""

Host = Annotated[str, Field(min_length=1, pattern=r"^[^\s/@]+$")]

Seconds = Annotated[float, Field(gt=0)]


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


class WorkflowLimits(Section):
    """How much of one workflow the service takes on; None is no bound of its own."""

    max_queued: WholeNumber | None = Field(default=None, ge=1)
    """How many of its executions may wait."""
    max_unfinished: WholeNumber | None = Field(default=None, ge=1)
    """How many of them may wait, run and be published together."""


LimitsMapping = Annotated[dict[str, WorkflowLimits], BeforeValidator(from_json), AfterValidator(FrozenDict)]


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
    limits: LimitsMapping = Field(default={})
    """By workflow name: bounds of its own."""
    max_attempts: WholeNumber = Field(default=3, ge=1)
    """How often an execution is begun whose process, worker or machine dies, before it fails."""
    timeout: Seconds | None = None
    """How long a workflow may run, in seconds; None is any time."""
    timeouts: SecondsMapping = Field(default={})
    """By workflow name: the same for one workflow alone."""
    loading_timeout: Seconds | None = 3600.0
    """How long the import and construction of a workflow may take, in seconds, before it runs; None is any time."""


class ResultSettings(Section):
    """What happens to output directories."""

    output_dir: LocalPath | None = None
    """Where executions write; without one, ``outputs`` in `data_dir`."""
    keep_local_output: bool = False
    """Whether an output directory stays after its publication to object storage was verified."""
    publish_live: bool = True
    """Whether files go to object storage while the workflow still computes, as soon as they have settled."""
    min_free_disk_bytes: WholeNumber = Field(default=1_073_741_824, ge=0)
    """Below this much free space at the output directory, in bytes, nothing is accepted or begun; 0 for no reserve."""
    retention_seconds: WholeNumber | None = Field(default=None, ge=1)
    """How long after its end an execution's results are kept, in seconds, unless it says otherwise; None for ever."""
    keep_records_seconds: WholeNumber = Field(default=2_592_000, ge=0)
    """How long after its end an execution is remembered whose results are removed, in seconds."""
    orphans_after_seconds: WholeNumber = Field(default=86_400, ge=3600)
    """From which age on, in seconds, what nothing refers to is removed: multipart uploads, directories."""


class WorkerSettings(Section):
    """The processes that run workflows and publish what they wrote."""

    compute_slots: WholeNumber = Field(default=1, ge=0)
    """How many workflows run at the same time."""
    publish_slots: WholeNumber = Field(default=1, ge=0)
    """How many executions are published at the same time."""
    drain_seconds: float = Field(default=5.0, ge=0)
    """How long a workflow may go on that runs when its worker is told to stop."""
    publish_drain_seconds: float = Field(default=30.0, ge=0)
    """How long a publication may."""
    heartbeat_seconds: Seconds = 5.0
    """How often a worker says that it is alive."""
    dead_after_seconds: Seconds = 15.0
    """After how long without that its work is given to others."""


class WebhookSettings(Section):
    """Telling others how executions end."""

    secret: SecretStr | None = None
    """With which deliveries are signed; without one, there are none."""
    allowed_networks: Networks = ()
    """Networks that are called although they are not public."""
    attempts: WholeNumber = Field(default=6, ge=1)
    """How often a delivery is tried."""
    timeout_seconds: Seconds = 10.0
    """How long the receiver may take to answer."""
