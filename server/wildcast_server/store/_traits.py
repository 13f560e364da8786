"""What goes to obstore along with every object, and the parts of one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wildcast_server.store._errors import translate
from wildcast_server.store.base import ObjectAttributes

if TYPE_CHECKING:
    from obstore import Attributes


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a backend can do, and what it adds to every object."""

    keeps_attributes: bool = True
    checks_crc64nvme: bool = False
    etags_are_md5: bool = False
    begins_puts: bool = False
    storage_class: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


def driver_attributes(attributes: ObjectAttributes | None, traits: Traits) -> "Attributes | None":
    """Return what obstore puts on an object."""
    if not traits.keeps_attributes:
        return None
    given = attributes or ObjectAttributes()
    named = {
        "Content-Type": given.content_type,
        "Cache-Control": given.cache_control,
        "Storage-Class": traits.storage_class,
    }
    return {name: value for name, value in named.items() if value is not None} or None


class Parts:
    """Iterates over parts, and remembers the exception that doing so raised, to tell it from the driver's."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._parts
        except BaseException as error:
            self._error = error
            raise

    def translate(self, error: Exception, uri: str) -> Exception:
        """Return the error to raise in place of one of `obstore.put`: the parts' own is it itself."""
        return error if error is self._error else translate(error, uri, "written")
