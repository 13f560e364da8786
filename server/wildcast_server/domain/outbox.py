"""What is to be done after a change of an execution, as the records keep it: deliveries of webhooks, and removals."""

from dataclasses import dataclass, field
from datetime import datetime

from wildcast.contract.wire import StorageType


@dataclass(frozen=True, kw_only=True)
class NewDelivery:
    """An event that is to be told to a webhook."""

    event: str
    """The status that the execution came to."""
    url: str = field(repr=False)
    """Whom to tell; it may hold a token."""
    body: str = field(repr=False)
    """JSON, as it is sent and signed."""


@dataclass(frozen=True, kw_only=True)
class Delivery(NewDelivery):
    """A delivery that is due, claimed for a while by who was given it."""

    id: int
    execution_id: str
    tries: int
    """With the one that it was claimed for."""


@dataclass(frozen=True, kw_only=True)
class DeliveryLog:
    """How a delivery stands."""

    id: int
    event: str
    url: str = field(repr=False)
    tries: int
    created_at: datetime
    next_try_at: datetime | None
    """None where it is done or given up."""
    delivered_at: datetime | None
    last_status: int | None
    """The HTTP status of the last answer."""
    last_error: str | None


@dataclass(frozen=True, kw_only=True)
class NewRemoval:
    """Something of an execution that is to be removed: a directory, or the objects of a publication."""

    execution_id: str
    attempt: int
    storage_type: StorageType
    name: str
    """Of the output directory, and of the publication: the last part of its prefix."""
    prefix: str | None = None
    """Where its objects are in the store; None if only the local directory is meant."""
    site: str | None = None
    """The disk of the output directory; None if anybody can do it."""
    committed: bool = False
    """Whether a manifest lists all of its objects."""
    reason: str
    """The status that it follows, or `deleted`."""


@dataclass(frozen=True, kw_only=True)
class Removal(NewRemoval):
    """A removal that is due, claimed for a while by who was given it."""

    id: int
    requested_at: datetime
    tries: int
    """With the one that it was claimed for."""
