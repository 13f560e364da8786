"""Files in place of URLs: what `file://` has, for programs that see the same disk."""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Self

from wildcast_server.errors import AccessDeniedError, MultipartError, StoreError, StoreIoError
from wildcast_server.store._local import LocalStore
from wildcast_server.store.opening import open_store
from wildcast_server.store.presign import PresignedUrl, Presigner

_UPLOAD_DIGITS = 15


class FilePresigner(Presigner):
    """Hands out paths as ``file://`` URLs, which never end and grant nothing that the file system does not.

    A part of an upload is a file beside the one that is to be, under a name that no store lists.

    Parameters
    ----------
    store
        Where the files are.
    """

    longest: ClassVar[timedelta | None] = None

    def __init__(self, store: LocalStore) -> None:
        super().__init__(store.uri)
        self._store = store

    @classmethod
    def open(cls, uri: str) -> Self:
        """Open a directory, which is made if it is missing."""
        store = open_store(uri)
        assert isinstance(store, LocalStore)  # noqa: S101 - what file:// is
        return cls(store)

    def presign_get(self, key: str, expires_in: timedelta | float) -> PresignedUrl:
        self._lifetime(key, expires_in)
        return PresignedUrl("GET", self._file(key).as_uri(), None)

    def presign_put(
        self,
        key: str,
        expires_in: timedelta | float,
        *,
        content_type: str | None = None,
    ) -> PresignedUrl:
        del content_type  # Files have none.
        self._lifetime(key, expires_in)
        return PresignedUrl("PUT", self._with_directory(key).as_uri(), None)

    def create_multipart(self, key: str, *, content_type: str | None = None) -> str:
        del content_type
        self._with_directory(key)
        return "".join(secrets.choice("0123456789") for _ in range(_UPLOAD_DIGITS))

    def presign_part(self, key: str, upload: str, number: int, expires_in: timedelta | float) -> PresignedUrl:
        self._check_number(key, number)
        self._lifetime(key, expires_in)
        return PresignedUrl("PUT", self._part(key, upload, number).as_uri(), None)

    def complete_multipart(self, key: str, upload: str, parts: Mapping[int, str]) -> str | None:
        """Make the file of its parts; return its ETag. The parts' own may be empty: nobody gave any."""
        files = [self._part(key, upload, number) for number, _ in self._in_order(key, parts)]
        whole = self._part(key, upload, 0)
        with self._errors(key):
            try:
                self._join(key, files, whole)
                whole.replace(self._file(key))
            finally:
                whole.unlink(missing_ok=True)
            self.abort_multipart(key, upload)
        return self._store.head(key).etag

    def _join(self, key: str, files: list[Path], whole: Path) -> None:
        with whole.open("wb") as target:
            for number, file in enumerate(files, 1):
                try:
                    with file.open("rb") as source:
                        shutil.copyfileobj(source, target, 1 << 20)
                except FileNotFoundError as error:
                    what = f"part {number} of {len(files)} of {self._uri_of(key)} is not there"
                    raise MultipartError(f"{what}: write it, then complete the upload", self._uri_of(key)) from error

    def abort_multipart(self, key: str, upload: str) -> None:
        staged = self._part(key, upload, 0)
        with self._errors(key), suppress(FileNotFoundError), os.scandir(staged.parent) as entries:
            for entry in entries:
                if entry.name.startswith(staged.name[:-5]):
                    Path(entry).unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self._store.path_of(key)

    def _with_directory(self, key: str) -> Path:
        file = self._file(key)
        with self._errors(key):
            file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def _part(self, key: str, upload: str, number: int) -> Path:
        file = self._file(key)
        if len(upload) != _UPLOAD_DIGITS or not (upload.isascii() and upload.isdecimal()):
            raise MultipartError(f"{self._uri_of(key)} has no such upload: create one", self._uri_of(key))
        return file.with_name(f"{file.name}#{upload}{number:05d}")

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            raise _failure(error, self._uri_of(key)) from error


def _failure(error: OSError, uri: str) -> StoreError:
    if isinstance(error, PermissionError):
        return AccessDeniedError(f"{uri} could not be written: check the directory's owner and mode", uri)
    return StoreIoError(f"{uri} could not be written: {error.strerror}", uri)
