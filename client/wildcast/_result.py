"""What a completed execution has published, ready to be read."""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from wildcast._api import Api, listed_files
from wildcast._download import target_below
from wildcast._errors import DatasetError
from wildcast._retry import Retry
from wildcast._sources import ApiSource, ServerSource, UrlSource, link_of
from wildcast.contract.manifest import Dataset
from wildcast.contract.wire import OutputFile, ResultMetadata

if TYPE_CHECKING:
    import xarray as xr
    from fsspec.mapping import FSMap

    from wildcast._filesystem import SignedFileSystem

_NETCDF = (".nc", ".nc4")


class Result:
    """The files of a completed execution, and how to open them. `Execution.wait` makes it.

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
    """

    def __init__(
        self,
        api: Api,
        workflow: str,
        metadata: ResultMetadata,
        *,
        timeout: float = 60.0,
        retry: Retry | None = None,
    ) -> None:
        self._api, self._workflow = api, workflow
        self._reading: dict[str, Any] = {"timeout": timeout, "retry": retry}
        self.metadata = metadata

    def __repr__(self) -> str:
        datasets = ", ".join(dataset.path or "." for dataset in self.datasets)
        size = sum(file.size for file in self.files)
        return (
            f"Result({self.metadata.request_id!r}, {len(self.files)} files, {size} bytes, "
            f"datasets=[{datasets}], expires_at={self.expires_at})"
        )

    @property
    def files(self) -> tuple[OutputFile, ...]:
        """Every file with its size in bytes; paths begin with the execution's id."""
        return self.metadata.output_files

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file's path relative to the result, as `download`, `fs` and `mapper` take it."""
        return tuple(self._relative(file.path) for file in self.files)

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
        metadata = self.metadata
        if metadata.storage_type == "server":
            return ServerSource(self._api, self._workflow, metadata.request_id)
        return ApiSource(self._api, self._workflow, metadata.request_id, link_of(metadata))

    @cached_property
    def fs(self) -> "SignedFileSystem":
        """The files as an fsspec filesystem; its URL is renewed while it is read."""
        from wildcast._filesystem import SignedFileSystem

        return SignedFileSystem(self._source, files=listed_files(self.metadata), **self._reading)

    def mapper(self, path: str = "") -> "FSMap":
        """Map the keys below `path`, such as those of a zarr store, to their bytes."""
        from fsspec.mapping import FSMap

        return FSMap(self._relative(path.strip("/")), self.fs)

    def open_dataset(self, name: str | None = None, **kwargs: Any) -> "xr.Dataset":
        """Open a dataset lazily: values are read when they are used.

        Parameters
        ----------
        name
            Its path, or the path's last part with or without its ending; not needed where there is only one.
        **kwargs
            For ``xarray.open_dataset``: ``chunks``, ``decode_times``, ``group`` and so on.

        Raises
        ------
        DatasetError
            If there is no such dataset, or several and none is named.
        ReadError
            If it cannot be read.
        ImportError
            If it is a netCDF file and the extra ``netcdf`` is not installed.
        """
        import xarray as xr

        dataset = self._dataset(name)
        if dataset.format == "netcdf":
            _check_netcdf(kwargs)
            return xr.open_dataset(self.fs.open(dataset.path), **{"engine": "h5netcdf", **kwargs})
        options = {
            "engine": "zarr",
            "consolidated": True,
            "zarr_format": 2 if dataset.format == "zarr2" else 3,
            "group": dataset.group or None,
        }
        return xr.open_dataset(self.mapper(dataset.path), **{**options, **kwargs})

    def download(self, path: str, dest: str | Path = ".") -> Path:
        """Write one file to disk, streamed; it appears there whole or not at all.

        Parameters
        ----------
        path
            One of `paths`.
        dest
            The directory to write below; `path` is kept, so that no two files of a result collide.

        Returns
        -------
        Path
            Where it is.

        Raises
        ------
        UnsafePathError
            If it would be written outside `dest`.
        ReadError
            If it cannot be read.
        """
        relative = self._relative(path)
        target = target_below(Path(dest), relative)
        self.fs.get_file(relative, str(target))
        return target

    def _relative(self, path: str) -> str:
        return path.removeprefix(f"{self.metadata.request_id}/")

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
                f"{self.metadata.request_id} has neither a zarr store nor a netCDF file to open; see its `paths`."
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
    for path in sorted(paths):
        store, zarr, _ = path.partition(".zarr/")
        if zarr:
            store += ".zarr"
            version3 = f"{store}/zarr.json" in paths if store not in found else False
            found.setdefault(store, Dataset(path=store, format="zarr3" if version3 else "zarr2"))
        elif path.endswith(_NETCDF):
            found[path] = Dataset(path=path, format="netcdf")
    return tuple(found.values())


def _check_netcdf(options: Mapping[str, Any]) -> None:
    if options.get("engine", "h5netcdf") == "h5netcdf" and not (find_spec("h5netcdf") and find_spec("h5py")):
        raise ImportError(
            "A netCDF file needs h5netcdf and h5py: install the extra, with pip install 'wildcast[netcdf]'."
        )
