"""A mapping from keys to bytes that dask knows again."""

from typing import TYPE_CHECKING, Any

from fsspec.mapping import FSMap

if TYPE_CHECKING:
    from wildcast._filesystem import SignedFileSystem


class SignedMap(FSMap):  # type: ignore[misc]  # fsspec has no types
    """The files below a path of a `SignedFileSystem`, by their keys.

    Parameters
    ----------
    root
        The path.
    fs
        The filesystem.
    **options
        fsspec's own.
    """

    fs: "SignedFileSystem"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root, self.fs)

    def __dask_tokenize__(self) -> tuple[str, str, str]:
        # Else dask pickles it, with the URL of just now.
        return type(self).__name__, self.fs.fsid, self.root
