"""Publish a directory where it is, for the API itself to serve."""

import os
from contextlib import suppress
from pathlib import Path

from wildcast.contract.manifest import FileRow, Manifest, encode_manifest
from wildcast.contract.naming import MANIFEST_PATH
from wildcast_server.domain.execution import utc_now
from wildcast_server.errors import UploadFailedError
from wildcast_server.publish.output import check_name, prepare
from wildcast_server.publish.published import Clock, Published
from wildcast_server.publish.scan import PARTIAL_MANIFEST
from wildcast_server.transfer.digest import digest_files


def publish_in_place(
    directory: Path, name: str, *, attempt: int = 1, prefix: str | None = None, clock: Clock = utc_now
) -> Published:
    """Checksum the files of `directory`, and write their manifest into it; nothing is moved.

    Parameters
    ----------
    directory
        What to publish; `.wildcast/manifest.json.gz` is made in it, or replaced if it is ours.
    name
        The execution, or what else the publication is called.
    attempt
        The try that wrote the directory, from 1.
    prefix
        Of the publication in the store in which the directory lies; `name` if that is what it is called.
    clock
        Tells the manifest's time.

    Raises
    ------
    PublicationError
        The subclasses that `scan` has, `FileChangedError`, and `UploadFailedError` if the manifest cannot be written.
    """
    check_name(name)
    output = prepare(directory)
    files = digest_files(output.files)
    output.check_unchanged()
    manifest = Manifest.of(
        [FileRow(file.path, file.size, file.crc64nvme, "", file.content_type) for file in files],
        execution=name,
        attempt=attempt,
        created_at=clock(),
        verified="local",
        datasets=output.datasets,
    )
    _write(output.directory / MANIFEST_PATH, encode_manifest(manifest))
    return Published.of(manifest, prefix or name, storage_type="server")


def _write(path: Path, data: bytes) -> None:
    """Write under another name, then rename: whoever finds the manifest finds all of it."""
    partial = path.with_name(PARTIAL_MANIFEST)
    try:
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise UploadFailedError(f"the manifest {path} could not be written: {error.strerror}") from error
