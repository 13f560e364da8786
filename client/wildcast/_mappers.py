"""Mappings from keys to bytes, for `xarray.open_zarr` and zarr."""

from typing import TYPE_CHECKING

from wildcast._errors import InvalidUrlError
from wildcast._filesystem import SignedFileSystem

if TYPE_CHECKING:
    from fsspec.mapping import FSMap

    from wildcast._result import Result


def create_cloudfront_mapper(signed_url: str | None, zarr_path: str = "") -> "FSMap":
    """Map the keys of a zarr store behind a wildcard signed URL to their bytes.

    Parameters
    ----------
    signed_url
        ``<base>/*?<query>``. Nobody is asked for another one when it ends; `get_mapper` does that. Take that of the
        whole result: a directory's covers no manifest, and then a file that the store has lost reads as fill values,
        after an `UnlistedWarning`. One that `Result.sign` gives for a directory brings the manifest along.
    zarr_path
        The store's path below the prefix, such as ``results.zarr``; empty for the prefix itself.

    Returns
    -------
    FSMap
        What ``xarray.open_zarr(mapper, consolidated=True)`` takes.

    Raises
    ------
    InvalidUrlError
        If the URL is not such a one, or there is none.
    """
    if signed_url is None:
        raise InvalidUrlError(
            "There is no signed URL, as of a result that the API itself serves: use `result.mapper()` or "
            "`result.open_dataset()`."
        )
    return SignedFileSystem(signed_url).get_mapper(zarr_path.strip("/"))


def get_mapper(result: "Result", zarr_path: str = "") -> "FSMap":
    """Map the keys of a zarr store in `result` to their bytes; its URL is renewed while it is read.

    Parameters
    ----------
    result
        Of an execution that has completed.
    zarr_path
        The store's path in the result; empty for the result itself.
    """
    return result.mapper(zarr_path)
