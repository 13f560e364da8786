"""Room for outputs: below a reserve of free disk nothing more is accepted, and nothing more is begun."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from wildcast_server.errors import ServiceUnavailableError


@dataclass(frozen=True)
class Room:
    """Where executions write, as this machine sees it.

    Parameters
    ----------
    output_root
        The directory; it is there.
    min_free_bytes
        The reserve; 0 for none.
    """

    output_root: Path
    min_free_bytes: int

    def check(self) -> None:
        """Return if there is enough of it.

        Raises
        ------
        ServiceUnavailableError
            If there is not, or nobody can tell.
        """
        try:
            free = shutil.disk_usage(self.output_root).free
        except OSError as error:
            raise ServiceUnavailableError(
                f"the server's output directory cannot be looked at ({error.strerror}): its operator has to mend that"
            ) from error
        if free < self.min_free_bytes:
            raise ServiceUnavailableError(
                f"the server's disk has {free} bytes free, fewer than the {self.min_free_bytes} it keeps in reserve: "
                "try again later, or free some space"
            )
