"""Named places at which a test lets the process die, to show that whoever comes next can go on.

A place is armed by the environment variable ``WILDCAST_FAILPOINT``: its name, or ``name:n`` for the n-th time that it
is reached. Unarmed, as always outside of tests, a place costs one look at the environment.
"""

import itertools
import os
import signal
from collections import defaultdict

VARIABLE = "WILDCAST_FAILPOINT"

FAILPOINTS = (
    "publish.begun",
    "upload.read",
    "upload.stored",
    "upload.recorded",
    "upload.part",
    "publish.data-stored",
    "publish.metadata-stored",
    "publish.verified",
    "publish.swept",
    "publish.committed",
    "publish.recorded",
)
"""Those of a publication, in the order in which it reaches them."""

JOB_FAILPOINTS = (
    "compute.begun",
    "compute.ended",
    "compute.marked",
    "handed.over",
    "finalised",
)
"""Those of an execution's jobs, around the steps that the engine keeps."""

_times: dict[str, "itertools.count[int]"] = defaultdict(lambda: itertools.count(1))


def reached(name: str) -> None:
    """Kill this process as ``kill -9`` does, if the place `name` is armed."""
    armed = os.environ.get(VARIABLE)
    if armed is None:
        return
    wanted, _, number = armed.partition(":")
    if wanted == name and next(_times[name]) == int(number or 1):
        os.kill(os.getpid(), signal.SIGKILL)
