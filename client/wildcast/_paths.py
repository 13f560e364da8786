"""What fsspec calls files, and the keys in a publication that are meant by it."""

import os
from pathlib import Path
from typing import Any

from wildcast._errors import MissingFileError, NotAFileError, harmless
from wildcast._listing import Entry
from wildcast.contract.naming import InvalidPathError, check_key


def key_of(path: str) -> str:
    """Return a path relative to the publication, which itself is ``""``; `path` has no protocol.

    Raises
    ------
    MissingFileError
        If no file of any publication can have that name.
    """
    key = path.strip("/")
    try:
        return check_key(key) if key else key
    except InvalidPathError as error:
        raise MissingFileError(f"{harmless(str(error))}, so no result has such a file.") from None


def file_key_of(path: str) -> str:
    """Return the key of a file; raises as `key_of`, and a `NotAFileError` for the publication itself."""
    key = key_of(path)
    if not key:
        raise NotAFileError("The result itself is a directory, and not a file.")
    return key


def describe(entry: Entry, asked: str) -> dict[str, Any]:
    """Return what fsspec says about a file or directory; `asked` is the path by which it was asked for."""
    # zarr asks with a leading slash for what lies in the root, and cuts what it asked with off the names.
    name = f"/{entry.path}" if asked.startswith("/") else entry.path
    kind = "directory" if entry.size is None else "file"
    told = {"ETag": entry.etag} if entry.etag else {}
    return {"name": name, "size": entry.size or 0, "type": kind, **told}


def place_of(path: str, target: str) -> str:
    """Return where a copy of a file goes: below `target` if that is a directory, or ends as one."""
    is_directory = target.endswith(("/", os.sep)) or Path(target).is_dir()
    return f"{target}/{path.rpartition('/')[2]}" if is_directory else target
