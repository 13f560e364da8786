"""Telling others how executions ended: signed, repeated until they have heard it, and only where that is allowed."""

import hashlib
import hmac
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from ipaddress import ip_network

import msgspec
from pydantic import SecretStr

from wildcast._version import __version__
from wildcast.contract.wire import Publication, StorageType
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.domain.outbox import Delivery, NewDelivery
from wildcast_server.errors import DeliveryFailedError, ForbiddenAddressError, WebhookError
from wildcast_server.http.outgoing import MAX_REDIRECTS, Outgoing
from wildcast_server.records import Records
from wildcast_server.settings import WebhookSettings

logger = logging.getLogger(__name__)

SIGNATURE = "X-Wildcast-Signature"
"""``t=<seconds since the epoch>,v1=<HMAC-SHA256 over "<t>.<body>", in hexadecimal>``."""

AT_ONCE = 8
"""Deliveries at a time: one receiver that does not answer holds up few others."""

LEASE_SECONDS = 60.0
"""How long nobody else takes up a delivery, besides the time that its requests may take."""

FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=6)
_FACTOR = 6


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook is told."""

    event: str
    """``execution.`` and the status that it ended in."""
    execution_id: str
    workflow_name: str
    status: str
    attempt: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime | None
    """When the results are removed."""
    error_message: str | None
    labels: dict[str, str]
    storage_type: StorageType | None
    publication: Publication | None


def body_of(execution: Execution) -> str:
    """Return what a webhook is told of an execution that has ended, as JSON."""
    published = execution.published
    event = Event(
        event=f"execution.{execution.status.value}",
        execution_id=execution.id,
        workflow_name=execution.workflow_name,
        status=execution.status.value,
        attempt=execution.attempt,
        created_at=execution.created_at,
        started_at=execution.started_at,
        ended_at=execution.ended_at,
        expires_at=execution.expires_at,
        error_message=execution.error_message,
        labels=dict(execution.labels),
        storage_type=published.storage_type if published else None,
        publication=published.publication if published else None,
    )
    return msgspec.json.encode(event).decode()


def deliveries_of(execution: Execution) -> Sequence[NewDelivery]:
    """Return what is to be delivered when an execution has ended, as it is then; nothing if nobody wants to know."""
    if execution.webhook is None:
        return ()
    return (NewDelivery(event=execution.status.value, url=execution.webhook, body=body_of(execution)),)


def signature(secret: SecretStr, body: str, at: int) -> str:
    """Return the value of the header `SIGNATURE`; `at` is in seconds since the epoch."""
    signed = hmac.new(secret.get_secret_value().encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


def outgoing_of(settings: WebhookSettings) -> Outgoing:
    """Return what calls webhooks as the settings allow it."""
    return Outgoing([ip_network(text) for text in settings.allowed_networks], settings.timeout_seconds)


@dataclass(frozen=True)
class CheckWebhook:
    """Refuse, when it is submitted, a webhook that is never called."""

    settings: WebhookSettings

    def __call__(self, url: str) -> None:
        """Raise `ForbiddenAddressError` if it is one. Where a name leads is looked at when it is called."""
        if self.settings.secret is None:
            raise ForbiddenAddressError("this server calls no webhooks: its operator has to set webhooks.secret")
        outgoing_of(self.settings).check(url)


@dataclass(frozen=True, kw_only=True)
class Deliver:
    """Works off the deliveries that are due.

    An answer of 2xx is a delivery; 410 (gone), and an address that may not be called, end it. Anything else is tried
    again: after ten seconds, and then after six times as long each time.
    """

    records: Records
    settings: WebhookSettings
    outgoing: Outgoing
    clock: Callable[[], datetime] = utc_now
    threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhooks"), repr=False
    )

    def __call__(self) -> int:
        """Try what is due, once; return how much of it was delivered."""
        lease = LEASE_SECONDS + (1 + MAX_REDIRECTS) * self.settings.timeout_seconds
        due = self.records.due_deliveries(self.clock(), lease_seconds=lease, limit=AT_ONCE)
        return sum(self.threads.map(self._deliver, due))

    def _deliver(self, delivery: Delivery) -> bool:
        if delivery.tries > self.settings.attempts:
            # Whoever had it before never said how it went; were it at fault for that, it would be so for ever.
            self._failed(delivery, DeliveryFailedError("the tries before this one never came to an end"), is_final=True)
            return False
        try:
            status = self._post(delivery)
        except ForbiddenAddressError as error:
            self._failed(delivery, error, is_final=True)
            return False
        except DeliveryFailedError as error:
            self._failed(delivery, error, is_final=error.status == HTTPStatus.GONE)
            return False
        self.records.delivered(delivery.id, status=status, at=self.clock())
        logger.info("%s: its webhook was told that it is %s", delivery.execution_id, delivery.event)
        return True

    def _post(self, delivery: Delivery) -> int:
        if self.settings.secret is None:
            raise DeliveryFailedError("webhooks.secret is not set any more, so nothing can be signed")
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"wildcast-server/{__version__}",
            "X-Wildcast-Event": delivery.event,
            # The same at every try: by it a receiver knows what it has heard already.
            "X-Wildcast-Delivery": f"{delivery.execution_id}.{delivery.id}",
            SIGNATURE: signature(self.settings.secret, delivery.body, int(self.clock().timestamp())),
        }
        status = self.outgoing.post(delivery.url, delivery.body.encode(), headers)
        if not 200 <= status < 300:  # noqa: PLR2004 - RFC 9110 §15.3
            raise DeliveryFailedError(f"the receiver answered {status}", status)
        return status

    def _failed(self, delivery: Delivery, error: WebhookError, *, is_final: bool) -> None:
        status = error.status if isinstance(error, DeliveryFailedError) else None
        is_last = is_final or delivery.tries >= self.settings.attempts
        again = None if is_last else self.clock() + pause_after(delivery.tries)
        self.records.delivery_failed(delivery.id, str(error), status=status, next_try_at=again)
        if is_last:
            logger.warning("%s: its webhook is given up after try %d: %s", delivery.execution_id, delivery.tries, error)
        else:
            logger.info("%s: its webhook was not delivered yet: %s", delivery.execution_id, error)


def pause_after(tries: int) -> timedelta:
    """Return how long to wait after so many tries: ten seconds at first, then six times as long each time."""
    exponent = min(tries - 1, 10)
    return min(FIRST_PAUSE * float(_FACTOR**exponent), LONGEST_PAUSE)
