"""Give zarr groups consolidated metadata, so that a reader opens a dataset with one request."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from wildcast_server.errors import UnpublishableFileError
from wildcast_server.publish.datasets import find_stores, read_json
from wildcast_server.transfer.files import LocalFile


def consolidate(directory: Path, files: Sequence[LocalFile]) -> bool:
    """Consolidate the metadata of each zarr group below `directory` that has none consolidated yet.

    Parameters
    ----------
    directory
        Where the files are.
    files
        As a scan found them.

    Returns
    -------
    bool
        Whether anything was written, and `files` are outdated.

    Raises
    ------
    UnpublishableFileError
        If a group's metadata cannot be read or written.
    """
    present = {file.path for file in files}
    wanting = [
        (path, version)
        for path in find_stores(files)
        if (version := _lacking(Path(directory), path, present)) is not None
    ]
    for path, version in wanting:
        _write(Path(directory) / path, path or str(directory), version)
    return bool(wanting)


def _lacking(directory: Path, path: str, present: set[str]) -> Literal[2, 3] | None:
    """Return the zarr version of a group without consolidated metadata; None for all else."""
    inside = f"{path}/" if path else ""
    if f"{inside}zarr.json" in present:
        metadata = read_json(directory / inside / "zarr.json")
        is_group = metadata.get("node_type") == "group"
        return 3 if is_group and metadata.get("consolidated_metadata") is None else None
    if f"{inside}.zgroup" in present and f"{inside}.zmetadata" not in present:
        return 2
    return None


def _write(store: Path, path: str, version: Literal[2, 3]) -> None:
    import zarr

    try:
        with warnings.catch_warnings():
            # Every reader of ours knows it; the specification's own word is pending.
            warnings.filterwarnings(
                "ignore", message="Consolidated metadata is currently not part in the Zarr format 3"
            )
            zarr.consolidate_metadata(str(store), zarr_format=version)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnpublishableFileError(
            f"{path} cannot be published: its zarr metadata cannot be consolidated ({error})",
        ) from error
