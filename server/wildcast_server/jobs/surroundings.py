"""What can be told of a run without looking into the workflow: where it runs, in which versions, on which device."""

import platform
import socket
import sys
from contextlib import suppress
from typing import Any

from wildcast._version import __version__
from wildcast.contract.wire import Provenance

CPU = "cpu"
"""Where no accelerator was used."""


def surroundings() -> Provenance:
    """Describe this host and this interpreter, which are those of the runner's process as well."""
    return Provenance(
        host=socket.gethostname(),
        wildcast=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        workflow_sha256=None,
        device=None,
        peak_memory_bytes=None,
        queued_seconds=None,
        compute_seconds=None,
        publish_seconds=None,
    )


def used_device() -> str:
    """Name the accelerator that this process has initialised through PyTorch or JAX, such as ``cuda:0 (NVIDIA A100)``.

    Nothing is imported or initialised for that: what is not loaded was not used. Without an accelerator: ``cpu``.
    """
    for look in (_by_torch, _by_jax):
        # What a library that is half imported or replaced answers must not cost a result.
        with suppress(Exception):
            if name := look():
                return name
    return CPU


def _by_torch() -> str | None:
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    index = torch.cuda.current_device()
    return f"cuda:{index} ({torch.cuda.get_device_name(index)})"


def _by_jax() -> str | None:
    jax: Any = sys.modules.get("jax")
    bridge: Any = sys.modules.get("jax._src.xla_bridge")
    # Asking for the devices would initialise them.
    if jax is None or bridge is None or not bridge.backends_are_initialized():
        return None
    device = jax.devices()[0]
    return None if device.platform == CPU else f"{device.platform}:{device.id} ({device.device_kind})"
