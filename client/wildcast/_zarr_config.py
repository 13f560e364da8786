"""How many chunks zarr asks for at a time: as many as there are connections, unless somebody has set a number.

Its own default is 10, which over 20 ms of distance takes five times as long for small chunks.

Who means just that default says so by ``ZARR_ASYNC__CONCURRENCY``, a configuration file of zarr's, or a call after the
first read: of a call before it zarr keeps the number alone, which is then the same as if nobody had said anything.
"""

import os
import sys
import threading
from typing import Any

from wildcast._sessions import connections

_OPTION = "async.concurrency"
_VARIABLE = "ZARR_ASYNC__CONCURRENCY"

_lock = threading.Lock()
_done: set[int] = set()


def raise_concurrency() -> None:
    """Raise zarr's ``async.concurrency``, once in a process, if zarr is in use and its user has left it alone."""
    if os.getpid() in _done or "zarr" not in sys.modules:
        return
    with _lock:
        config = getattr(sys.modules["zarr"], "config", None)
        if config is None or os.getpid() in _done:
            return  # zarr is being imported just now: the next read will find it.
        if _is_another(config):
            return  # A call may have set it for a block only: the next read looks again.
        _done.add(os.getpid())
        if _VARIABLE not in os.environ and _lookup(config.collect()) is None:
            config.set({_OPTION: connections()})


def _is_another(config: Any) -> bool:
    """Whether it is another number than the default."""
    defaults = [given for given in (_lookup(each) for each in config.defaults) if given is not None]
    return not defaults or bool(config.get(_OPTION) != defaults[-1])


def _lookup(values: Any) -> Any:
    section = values.get("async") if isinstance(values, dict) else None
    return section.get("concurrency") if isinstance(section, dict) else None
