"""What a step of a job came to, as the engine keeps it."""

from typing import Any, Literal

import msgspec

from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import PublicationRecord
from wildcast_server.errors import WildcastServerError
from wildcast_server.publish import Published

End = Literal["computed", "published", "failed", "cancelled", "lost", "stale"]
"""``lost``: what was computed is not there any more. ``stale``: it is another job's now, and nothing is to do."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a step came to; it is JSON where it is kept."""

    end: End
    attempt: int = 0
    """Of which attempt."""
    error: str | None = None
    """The reason, if it failed."""
    provenance: Provenance | None = None
    """What ran, as far as it is known."""
    published: PublicationRecord | None = None
    progress: dict[str, Any] | None = None
    """The last that was said of it."""

    def as_json(self) -> Any:
        """Lay it out as JSON values."""
        return msgspec.to_builtins(self)

    @classmethod
    def of_json(cls, value: Any) -> "Outcome":
        """Read what `as_json` gave."""
        return msgspec.convert(value, cls)


STALE = Outcome(end="stale")


def reason_of(error: Exception) -> str:
    """Say in one sentence why something failed."""
    return str(error) if isinstance(error, WildcastServerError) else f"{type(error).__name__}: {error}"


def as_record(published: Published, attempt: int) -> PublicationRecord:
    """Reduce a publication to what the records keep of it, as that attempt's.

    What an earlier attempt committed, right before its worker died, is this attempt's now if the files are the same.
    """
    return PublicationRecord(
        storage_type=published.storage_type,
        publication=msgspec.structs.replace(published.publication, attempt=attempt),
        datasets=published.datasets,
        upload=published.upload,
    )
