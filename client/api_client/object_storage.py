"""Results in object storage, read through a wildcard signed URL."""

from typing import Any
from urllib.parse import urlencode

from fsspec.mapping import FSMap

from api_client._api import metadata_of
from api_client.models import InferenceRequestResults, StorageType
from wildcast import SignedFileSystem, create_cloudfront_mapper
from wildcast._api import listed_files

__all__ = ["SignedURLFileSystem", "create_cloudfront_mapper", "get_mapper"]


class SignedURLFileSystem(SignedFileSystem):
    """The files below a signed URL that somebody took apart.

    A refusal is an error here, and only a 404 may mean that a file was never written.

    Parameters
    ----------
    base_fs
        Not used: requests are made by this filesystem itself.
    query_params
        The signature: ``Policy``, ``Signature``, ``Key-Pair-Id``.
    base_url
        The URL below which it holds, without ``/*``.

    Raises
    ------
    InvalidUrlError
        If that makes no signed URL.
    """

    def __init__(self, base_fs: Any, query_params: dict[str, str], base_url: str) -> None:
        del base_fs
        super().__init__(f"{base_url.rstrip('/')}/*?{urlencode(query_params, safe='~')}")


def get_mapper(request_result: InferenceRequestResults, zarr_path: str = "") -> FSMap | None:
    """Map the keys of a zarr store in a result to their bytes; None where the API itself serves the files.

    Parameters
    ----------
    request_result
        What the store belongs to. Nobody is asked for another URL when its own ends: `RemoteEarth2WorkflowResult` and
        `Earth2StudioClient.as_wildcast` do that.
    zarr_path
        The store's path in the result, without the execution's id.

    Raises
    ------
    ValueError
        If there is no signed URL, although the result is in object storage; if its storage type is unknown.
    InvalidUrlError
        If the URL is not a signed one.
    """
    if StorageType(request_result.storage_type) is not StorageType.S3:
        return None
    if not request_result.signed_url:
        raise ValueError(f"The server gives no signed URL for {request_result.request_id}; ask its operators.")
    files = listed_files(metadata_of(request_result, ""))
    return SignedFileSystem(request_result.signed_url, files=files).get_mapper(zarr_path.strip("/"))
