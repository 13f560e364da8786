"""What a result is, without asking anybody: its files, its datasets, and how it looks."""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from html import escape
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from wildcast._absent import missing
from wildcast._api import Api, listed_files
from wildcast._errors import DatasetError, MissingFileError
from wildcast._execution_source import source_of
from wildcast._listing import is_below
from wildcast._paths import url_of
from wildcast._retry import Retry
from wildcast._sources import UrlSource
from wildcast._text import moment_text, size_text
from wildcast.contract.manifest import Dataset
from wildcast.contract.wire import OutputFile, ResultMetadata

if TYPE_CHECKING:
    from fsspec.mapping import FSMap
    from zarr.storage import FsspecStore

    from wildcast._filesystem import SignedFileSystem

_NETCDF = (".nc", ".nc4")


class ResultBase:
    """What `Result` and `AsyncResult` have in common: all that needs no waiting.

    Parameters
    ----------
    api
        Who renews the signed URL, or serves the files.
    workflow
        The workflow's name.
    metadata
        What the API says about the result.
    timeout
        Seconds that a connection to the files may stay silent.
    retry
        How often, and how soon, reading a file is tried again.
    fill_missing
        Whether what a partial result lacks so far reads as fill values.
    """

    def __init__(
        self,
        api: Api,
        workflow: str,
        metadata: ResultMetadata,
        *,
        timeout: float = 60.0,
        retry: Retry | None = None,
        fill_missing: bool = False,
    ) -> None:
        self._api, self._workflow = api, workflow
        self._reading: dict[str, Any] = {"timeout": timeout, "retry": retry, "fill_missing": fill_missing}
        self.metadata = metadata

    def __repr__(self) -> str:
        datasets = ", ".join(dataset.path or "." for dataset in self.datasets)
        return (
            f"{type(self).__name__}({self.metadata.request_id!r}, {len(self.files)} files, {self._bytes} bytes, "
            f"datasets=[{datasets}], expires_at={self.expires_at})"
        )

    def _repr_html_(self) -> str:
        cells = [
            ("datasets", "<br>".join(escape(f"{each.path or '.'} ({each.format})") for each in self.datasets)),
            ("files", f"{len(self.files):,}, {size_text(self._bytes)}"),
            ("completed", moment_text(self.metadata.completion_time)),
            ("URL ends", moment_text(self.expires_at)),
            ("kept until", moment_text(self.metadata.result_expires_at)),
        ]
        rows = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>{cell}</td></tr>"
            for name, cell in cells
            if cell
        )
        title = f"<b>{escape(self._workflow)}</b> <code>{escape(self.metadata.request_id)}</code>"
        return f"<div>{title}<table>{rows}</table></div>"

    @property
    def _bytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def files(self) -> tuple[OutputFile, ...]:
        """Every file with its size in bytes; paths begin with the execution's id."""
        return self.metadata.output_files

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file's path relative to the result, as `download`, `fs` and `mapper` take it."""
        return tuple(file.path.removeprefix(f"{self.metadata.request_id}/") for file in self.files)

    @property
    def signed_url(self) -> str | None:
        """The newest signed URL for all files; a secret until it ends. None where the API serves the files."""
        if self.metadata.signed_url is None or self.metadata.storage_type == "server":
            return None
        url = self._source.current()
        return f"{url.base}/*?{url.query}"

    @property
    def expires_at(self) -> datetime | None:
        """When `signed_url` ends, in UTC; reading renews it before."""
        if self.signed_url is None:
            return None
        return self._source.current().expires_at

    @cached_property
    def datasets(self) -> tuple[Dataset, ...]:
        """What `open_dataset` can open: zarr stores and netCDF files."""
        return self.metadata.datasets or find_datasets(self.paths)

    @cached_property
    def _source(self) -> UrlSource:
        return source_of(self._api, self._workflow, self.metadata)

    @cached_property
    def fs(self) -> "SignedFileSystem":
        """The files as an fsspec filesystem; its URL is renewed while it is read."""
        from wildcast._filesystem import SignedFileSystem

        return SignedFileSystem(self._source, files=listed_files(self.metadata), **self._reading)

    def mapper(self, path: str = "") -> "FSMap":
        """Map the keys below `path`, such as those of a zarr store, to their bytes."""
        return self.fs.get_mapper(self._in_fs(path))

    def store(self, path: str = "") -> "FsspecStore":
        """Return the zarr store at `path` for zarr itself, to be read: ``zarr.open_group(result.store("a.zarr"))``."""
        from zarr.storage import FsspecStore

        return FsspecStore(self.fs, read_only=True, path=self._in_fs(path))

    def url(self, path: str = "") -> str:
        """Return the URL ``wildcast://<name>/<path>`` of a file or directory, which holds no secret.

        It opens with `storage_options`. It names the result, by its execution, so that fsspec's caches tell the files
        of several results apart: ``simplecache::`` before it, with one ``cache_storage`` for all of them.
        """
        return url_of(self._relative(path.strip("/")), self._source.label)

    def storage_options(self, *, signed: bool = False) -> dict[str, Any]:
        """Return what opens the result by URL elsewhere: ``xr.open_zarr("wildcast://a.zarr", storage_options=…)``.

        Plain values that can be written into a JSON or YAML file, for whatever takes an fsspec URL.

        Parameters
        ----------
        signed
            False: server, workflow and execution. Nothing of it is secret, and it does not end; the process that reads
            has the token, from ``wildcast login`` or in ``WILDCAST_TOKEN`` beside ``WILDCAST_URL``. True: the signed
            URL itself, for somebody who has no access to the server. **That is a secret**: whoever has it reads the
            result until `expires_at`.

        Raises
        ------
        ValueError
            If the signed URL is wanted, and the API serves the files itself.
        """
        filled = {"fill_missing": True} if self._reading["fill_missing"] else {}
        if not signed:
            return {**self._source.storage_options, **filled}
        if self.signed_url is None:
            raise ValueError("The API serves these files itself: there is no signed URL; leave `signed` out.")
        return {"signed_url": self.signed_url, **filled}

    def _is_there(self, relative: str) -> bool:
        """Whether a file, a directory or a dataset is there, as far as they are known."""
        if any(dataset.path == relative for dataset in self.datasets):
            return True
        return any(is_below(path, relative) for path in self.paths)

    def _check_there(self, relative: str) -> None:
        """Raise `MissingFileError` if neither a file nor a directory is there, as far as the files are known."""
        if self.paths and not self._is_there(relative):
            raise missing(relative)

    def _relative(self, path: str) -> str:
        """Return a path relative to the result, whether it begins with the execution, as those of `files`, or not."""
        name, is_pattern = self.metadata.request_id, "*" in path or "?" in path
        if not is_below(path, name) or self._is_there(name if is_pattern else path):
            return path
        return path[len(name) + 1 :]

    def _pattern(self, pattern: str | None) -> str | None:
        return None if pattern is None else self._relative(pattern)

    def _in_fs(self, path: str) -> str:
        return self.fs.path_of(self._relative(path.strip("/")))

    def _dataset(self, name: str | None) -> Dataset:
        if name is None:
            found = self.datasets
        else:
            exact = [dataset for dataset in self.datasets if dataset.path == self._relative(name.strip("/"))]
            found = tuple(exact or [dataset for dataset in self.datasets if name in _short_names(dataset)])
        if len(found) == 1:
            return found[0]
        if not self.datasets:
            raise DatasetError(
                f"{self.metadata.request_id} has neither a zarr store nor a netCDF file to open; "
                f"{MissingFileError.advice}."
            )
        there = ", ".join(repr(dataset.path) for dataset in self.datasets)
        wanted = "a dataset" if name is None else repr(name)
        problem = "is not there" if not found else "could be any of several"
        raise DatasetError(f"{wanted} of {self.metadata.request_id} {problem}; name one of: {there}.")


def _short_names(dataset: Dataset) -> tuple[str, str]:
    path = PurePosixPath(dataset.path)
    return path.name, path.stem


def find_datasets(paths: tuple[str, ...]) -> tuple[Dataset, ...]:
    """Find the datasets among the files of a server that does not name them, in the order of their paths."""
    found: dict[str, Dataset] = {}
    there = frozenset(paths)
    for path in sorted(paths):
        store, zarr, _ = path.partition(".zarr/")
        if zarr:
            store += ".zarr"
            version3 = f"{store}/zarr.json" in there if store not in found else False
            found.setdefault(store, Dataset(path=store, format="zarr3" if version3 else "zarr2"))
        elif path.endswith(_NETCDF):
            found[path] = Dataset(path=path, format="netcdf")
    return tuple(found.values())


def member_names(datasets: Mapping[str, Any]) -> list[str]:
    """Return short names of datasets by their paths: the last parts without ending, if these differ."""
    stems = [PurePosixPath(path).stem for path in datasets]
    return stems if len(set(stems)) == len(stems) else list(datasets)
