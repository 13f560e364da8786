"""What a completed execution has published, ready to be read: by those who block, and by those who await."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable
from concurrent.futures import wait
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wildcast._download import target_below
from wildcast._errors import DatasetError, UnsupportedError, shown
from wildcast._fixed_source import with_manifest
from wildcast._opening import check_dask, concatenate, open_dataset, open_datatree, open_many
from wildcast._progress import DownloadBar, Progress
from wildcast._result_base import ResultBase, find_datasets, member_names
from wildcast.contract.naming import MANIFEST_PATH, quote_key
from wildcast.contract.wire import SignedAnswer

if TYPE_CHECKING:
    import xarray as xr

T = TypeVar("T")

__all__ = ["AsyncResult", "Result", "find_datasets"]


class Result(ResultBase):
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
    fill_missing
        Whether what a partial result lacks so far reads as fill values.
    """

    def sign(self, path: str | None = None, expires_in: float | None = None, ip: str | None = None) -> str:
        """Ask the API for a URL of one file, of a directory, or of the result; it is a secret until it ends.

        The signature of a directory does not cover the manifest, by which a reader tells a lost file from a gap. So its
        URL brings along one of the manifest, behind ``#manifest=``; servers never see it. It shows the names, sizes and
        checksums of all files of the result. Without it the URL opens as well, with an `UnlistedWarning`.

        Parameters
        ----------
        path
            One of `paths`, or a directory, whose URL has a star in the place of a path; None, or empty, for the result.
        expires_in
            Seconds until it ends; as long as the server signs for if None.
        ip
            An IPv4 address or network that alone may use it.

        Raises
        ------
        MissingFileError
            If nothing is at `path`.
        UnsupportedError
            If the server signs nothing on request and what is asked for cannot be had from `signed_url` either.
        ApiError
            If it signs nothing for this, or does not answer.
        """
        relative = self._relative((path or "").strip("/")) or None
        if relative is not None:
            self._check_there(relative)
        try:
            signed = self._signed(path=relative, expires_in=expires_in, ip=ip)
        except UnsupportedError:
            # Earth2Studio's server: the wildcard URL covers each file, for as long as it lasts.
            if relative is None or expires_in is not None or ip is not None or self.signed_url is None:
                raise
            below = "" if relative in self.paths else "/*"
            return self.signed_url.replace("/*?", f"/{quote_key(relative)}{below}?", 1)
        url = signed.url or ""
        if relative and url.partition("?")[0].endswith("/*"):
            manifest = self._signed(path=MANIFEST_PATH, expires_in=expires_in, ip=ip)
            return with_manifest(url, manifest.url or "")
        return url

    def cookies(self, expires_in: float | None = None, ip: str | None = None) -> dict[str, str]:
        """Ask the API for CloudFront's signed cookies, by which plain tools read a whole result.

        They are a secret until they end. A tool sends them as one header, ``Cookie: <name>=<value>; …``; for fsspec's
        own HTTP filesystem that is ``storage_options={"headers": {"Cookie": …}}``.

        Parameters
        ----------
        expires_in, ip
            As for `sign`.

        Raises
        ------
        ApiError
            If the server signs nothing, or does not answer.
        """
        return self._signed(expires_in=expires_in, ip=ip, kind="cookies").cookies or {}

    def _signed(self, **wanted: Any) -> SignedAnswer:
        return self._api.sign(self._workflow, self.metadata.request_id, **wanted)

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
        UnsafeDataError
            If it can only be decoded by running code that it brings along.
        ReadError
            If it cannot be read.
        ImportError
            If it is a netCDF file and the extra ``netcdf`` is not installed.
        """
        return open_dataset(self.fs, self._dataset(name), kwargs)

    def open_datatree(self, name: str | None = None, **kwargs: Any) -> "xr.DataTree":
        """Open a dataset with all its groups, as lazily; `open_dataset` says what there is to say.

        Parameters
        ----------
        name
            As for `open_dataset`.
        **kwargs
            For ``xarray.open_datatree``.
        """
        return open_datatree(self.fs, self._dataset(name), kwargs)

    def open_datasets(self, names: Iterable[str] | None = None, **kwargs: Any) -> "dict[str, xr.Dataset]":
        """Open several datasets at once, lazily; return them by their paths.

        Parameters
        ----------
        names
            Which ones, as `open_dataset` takes them; all if None.
        **kwargs
            For ``xarray.open_dataset``, the same for each.
        """
        if isinstance(names, str):
            raise TypeError(f"names are a list, such as [{names!r}]; `open_dataset` takes one name.")
        found = self.datasets if names is None else [self._dataset(name) for name in names]
        if twice := [path for path, count in Counter(each.path for each in found).items() if count > 1]:
            raise DatasetError(f"{shown(twice[0])} is named twice; name each dataset once.")
        return open_many({dataset.path: partial(open_dataset, self.fs, dataset, kwargs) for dataset in found})

    def open_ensemble(self, names: Iterable[str] | None = None, dim: str = "member", **kwargs: Any) -> "xr.Dataset":
        """Open several datasets of the same form as one, along a new dimension, lazily with dask.

        They have the same variables, of the same types and units, on the same indexes. Other coordinates are read and
        compared: those that differ, as the time of each run may, lie along the new dimension as well.

        Parameters
        ----------
        names
            Which ones, as `open_dataset` takes them; all if None.
        dim
            The new dimension. Its coordinate has the datasets' names, without directories and endings where that is
            enough to tell them apart.
        **kwargs
            For ``xarray.open_dataset``, the same for each; ``chunks`` is ``"auto"`` if it is not given.

        Raises
        ------
        DatasetError
            If there are none.
        ImportError
            If dask is not installed.
        ValueError
            If they are not of the same form, or have such a dimension already.
        """
        check_dask()
        if not self.datasets:
            self._dataset(None)
        datasets = self.open_datasets(names, **{"chunks": "auto", **kwargs})
        try:
            return concatenate(datasets, member_names(datasets), dim)
        except ValueError:
            for dataset in datasets.values():
                dataset.close()
            raise

    def download(
        self,
        dest: str | Path = ".",
        pattern: str | None = None,
        *,
        progress: Progress = "auto",
        overwrite: bool = True,
    ) -> list[Path]:
        """Write files to disk, many at a time; each appears there whole, with the manifest's checksum, or not at all.

        What is there already, and right, is left alone. A run that was killed is gone on with by the next one, large
        files in their middle. From a server without manifests a file is judged by its size alone.

        Parameters
        ----------
        dest
            The directory to write below; a file's path in the result is kept.
        pattern
            One of `paths`, a directory, or a glob: ``*`` and ``?`` within a name, ``**`` over directories. Everything
            if None.
        progress
            Whether to draw a bar; ``"auto"``: on a terminal and in a notebook.
        overwrite
            Whether a file that is there and differs is replaced; otherwise nothing is downloaded.

        Returns
        -------
        list[Path]
            Where the files are, in the order of their paths.

        Raises
        ------
        MissingFileError
            If `pattern` names nothing.
        InvalidPatternError
            If it cannot be read.
        UnsafePathError
            If a file would be written outside `dest`, or over another one of them.
        DiskFullError
            If there is less space than is needed.
        FileExistsError
            If a file that differs is there, and is not to be overwritten; if a directory is where a file is to be, or
            the other way round.
        ReadError
            If a file cannot be read.
        """
        return self._blocking(_download(self, dest, self._pattern(pattern), progress, overwrite))

    def download_file(self, path: str, dest: str | Path = ".", *, progress: Progress = "auto") -> Path:
        """Write one file to disk, as `download` does; it appears there whole or not at all.

        Without a manifest's checksum it is read in one stream, which is not gone on with by a later run.

        Parameters
        ----------
        path
            One of `paths`.
        dest
            The directory to write below; `path` is kept, so that no two files of a result collide.
        progress
            As for `download`.

        Returns
        -------
        Path
            Where it is.

        Raises
        ------
        UnsafePathError
            If it would be written outside `dest`.
        DiskFullError
            If there is less space than is needed.
        FileExistsError
            If a directory is in its place, or a file in that of a directory.
        ReadError
            If it cannot be read.
        """
        return self._blocking(_download_file(self, path, Path(dest), progress))

    def _blocking(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self.fs.loop)
        try:
            # In slices, because on Windows nothing interrupts a wait without end.
            while not wait([future], timeout=1).done:
                pass
            return future.result()
        except BaseException:
            # Ctrl-C ends the download, and not only the waiting for it.
            future.cancel()
            raise


class AsyncResult(ResultBase):
    """The files of a completed execution, for those who await: as `Result`, whose methods say what each does.

    Downloads run in the caller's event loop, and all else that waits in a thread; the loop is never blocked. Values of
    a dataset that was opened are read when they are used, and that blocks: use them in a thread, or after
    ``await dataset.load_async()``.

    Parameters
    ----------
    api
        As for `Result`: the one that blocks, for the threads.
    workflow
        The workflow's name.
    metadata
        What the API says about the result.
    timeout, retry, fill_missing
        As for `Result`.
    """

    async def sign(self, path: str | None = None, expires_in: float | None = None, ip: str | None = None) -> str:
        """Ask the API for a URL; as `Result.sign`."""
        return await asyncio.to_thread(self.blocking.sign, path, expires_in, ip)

    async def cookies(self, expires_in: float | None = None, ip: str | None = None) -> dict[str, str]:
        """Ask the API for signed cookies; as `Result.cookies`."""
        return await asyncio.to_thread(self.blocking.cookies, expires_in, ip)

    async def open_dataset(self, name: str | None = None, **kwargs: Any) -> "xr.Dataset":
        """Open a dataset lazily; as `Result.open_dataset`."""
        return await asyncio.to_thread(self.blocking.open_dataset, name, **kwargs)

    async def open_datatree(self, name: str | None = None, **kwargs: Any) -> "xr.DataTree":
        """Open a dataset with all its groups; as `Result.open_datatree`."""
        return await asyncio.to_thread(self.blocking.open_datatree, name, **kwargs)

    async def open_datasets(self, names: Iterable[str] | None = None, **kwargs: Any) -> "dict[str, xr.Dataset]":
        """Open several datasets at once; as `Result.open_datasets`."""
        return await asyncio.to_thread(self.blocking.open_datasets, names, **kwargs)

    async def open_ensemble(
        self, names: Iterable[str] | None = None, dim: str = "member", **kwargs: Any
    ) -> "xr.Dataset":
        """Open several datasets as one; as `Result.open_ensemble`."""
        return await asyncio.to_thread(self.blocking.open_ensemble, names, dim, **kwargs)

    async def download(
        self,
        dest: str | Path = ".",
        pattern: str | None = None,
        *,
        progress: Progress = "auto",
        overwrite: bool = True,
    ) -> list[Path]:
        """Write files to disk; as `Result.download`. To cancel the task ends it, and the next call goes on with it."""
        return await _download(self, dest, self._pattern(pattern), progress, overwrite)

    async def download_file(self, path: str, dest: str | Path = ".", *, progress: Progress = "auto") -> Path:
        """Write one file to disk; as `Result.download_file`."""
        return await _download_file(self, path, Path(dest), progress)

    @property
    def blocking(self) -> Result:
        """The same result for those who block, such as a thread; it shares the filesystem."""
        result = Result(self._api, self._workflow, self.metadata, **self._reading)
        result.fs = self.fs
        return result


async def _download(
    result: ResultBase, dest: str | Path, pattern: str | None, progress: Progress, overwrite: bool = True
) -> list[Path]:
    from wildcast._downloading import Download

    with DownloadBar(result.metadata.request_id, progress) as bar:
        download = Download(result.fs._reader, bar, overwrite=overwrite)  # noqa: SLF001 - its own filesystem
        return await download.run(Path(dest), pattern)


async def _download_file(result: ResultBase, path: str, dest: Path, progress: Progress) -> Path:
    relative, reader = result._relative(path), result.fs._reader  # noqa: SLF001 - of this module's classes
    target = await asyncio.to_thread(target_below, dest, relative)
    listing = await reader.known_listing()
    expected = None if listing is None else listing.expected(relative)
    if expected is None or expected.crc is None:
        await reader.download(relative, target)
    else:
        await _download(result, dest, relative, progress)
    return target
