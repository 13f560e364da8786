"""Files that lie beside a download until it has its name: opened themselves, and never through a link."""

import os
from pathlib import Path
from typing import BinaryIO, cast

from wildcast._errors import UnsafePathError

# Windows has none, and lets few make links.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def opened(path: Path, mode: str, *, create: bool = False) -> BinaryIO:
    """Open a file, as `open` does; with `create`, make it where the mode alone would not.

    It is buffered, so that what is written is written whole, or an error at the latest when it is closed.

    Raises
    ------
    UnsafePathError
        If it is a link: in a directory that others may write to, they would choose what is written to.
    """
    more = _NO_LINK | (os.O_CREAT if create else 0)
    try:
        # pathlib's own takes no opener.
        file = open(path, mode, opener=lambda name, flags: os.open(name, flags | more, 0o666))  # noqa: SIM115 - it is handed on
    except OSError:
        if path.is_symlink():
            raise UnsafePathError(f"{path} is a link, through which nothing is written; remove it.") from None
        raise
    return cast("BinaryIO", file)
