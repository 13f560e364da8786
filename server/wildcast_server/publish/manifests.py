"""The manifest as an object of a store."""

from collections.abc import Iterable

from wildcast.contract.manifest import FileRow, Manifest, ManifestError, decode_manifest, encode_manifest
from wildcast.contract.naming import MANIFEST_PATH, join_key
from wildcast_server.errors import AlreadyExistsError, UploadFailedError, VerificationFailedError
from wildcast_server.http.media_types import cache_control, content_type
from wildcast_server.store.base import ObjectAttributes, ObjectStore
from wildcast_server.transfer.files import StoredFile


def manifest_key(prefix: str) -> str:
    """Return the key of the manifest of the publication at `prefix`."""
    return join_key(prefix, MANIFEST_PATH)


def read_manifest(store: ObjectStore, prefix: str) -> Manifest:
    """Read the manifest of the publication at `prefix`.

    Raises
    ------
    NotFoundError
        If there is no publication, or one that was never committed.
    ManifestError
        If it is damaged or of a newer version.
    """
    key = manifest_key(prefix)
    try:
        return decode_manifest(store.get(key))
    except ManifestError as error:
        raise ManifestError(f"{store.uri}/{key}: {error}") from error


def rows_of(files: Iterable[StoredFile], store: ObjectStore) -> list[FileRow]:
    """Return the manifest's rows of what was written to `store`.

    Of a store on disk without ETags: there they tell a file's inode and time, which a copy of it does not keep, as one
    that was restored from a backup.
    """
    return [
        FileRow(file.path, file.size, file.crc64nvme, "" if store.is_on_disk else file.etag or "", file.content_type)
        for file in files
    ]


def commit(store: ObjectStore, prefix: str, manifest: Manifest) -> None:
    """Write the manifest, which makes the publication one.

    It is created, never replaced: of two publishers of one prefix, one fails. It is read back, unless the store itself
    refuses bytes that differ from the checksum sent along: then its answer has said all that reading could.

    Raises
    ------
    UploadFailedError
        If another publication has been committed there.
    VerificationFailedError
        If it does not come back as it was written; it is removed.
    """
    key, data = manifest_key(prefix), encode_manifest(manifest)
    attributes = ObjectAttributes(content_type(MANIFEST_PATH), cache_control(MANIFEST_PATH))
    try:
        store.put_if_absent(key, data, attributes)
    except AlreadyExistsError as error:
        # Our own, if the store's first answer was lost and the request repeated.
        if store.get(key) != data:
            raise UploadFailedError(
                f"another publication was committed at {prefix} meanwhile; publish again"
            ) from error
        return
    if not store.checks_crc64nvme and store.get(key) != data:
        store.delete(key)
        raise VerificationFailedError(f"{store.uri}/{key} does not hold the manifest that was written")
