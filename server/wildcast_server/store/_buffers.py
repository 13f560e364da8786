"""The bytes of a caller's buffer, whatever its elements are."""

import ctypes
from typing import TYPE_CHECKING

from wildcast_server.errors import UnsupportedError

if TYPE_CHECKING:
    from typing_extensions import Buffer


def flat_view(buffer: "Buffer", uri: str, *, writable: bool) -> memoryview:
    """Return all bytes of a buffer, without a copy.

    Parameters
    ----------
    buffer
        Whose bytes.
    uri
        Of the object that they are meant for.
    writable
        Whether they are to be written to.

    Raises
    ------
    UnsupportedError
        If it has no contiguous buffer, or, with `writable`, a read-only one.
    """
    try:
        view = memoryview(buffer)
    except (TypeError, ValueError, BufferError) as error:
        advice = "give a contiguous buffer; of a NumPy array with such elements, array.view('u1')"
        raise UnsupportedError(f"the memory meant for {uri} cannot be used ({error}): {advice}", uri) from error
    if not view.c_contiguous:
        raise UnsupportedError(f"the buffer meant for {uri} is not contiguous: give numpy.ascontiguousarray of it", uri)
    if writable and view.readonly:
        raise UnsupportedError(f"{uri} cannot be read into a buffer that is read-only", uri)
    return _cast(view)


def _cast(view: memoryview) -> memoryview:
    if not view.nbytes:
        return memoryview(bytearray())
    try:
        return view.cast("B")
    except (TypeError, ValueError):
        # A record, or numbers in the other byte order, which Python itself will not cast.
        if view.readonly:
            return memoryview(view.tobytes())
        return memoryview((ctypes.c_char * view.nbytes).from_buffer(view)).cast("B")
