"""The several ways in which one setting of object storage may be spelled, brought to one."""

from collections.abc import Mapping
from typing import Any

from wildcast_server.settings.conflicts import Conflict, ConflictError
from wildcast_server.settings.keys import is_pem

ALIASES = {
    "access_key": "access_key_id",
    "secret_key": "secret_access_key",
    "endpoint_override": "endpoint_url",
    "crtMinLimit": "crt_min_limit",
    "crtminlimit": "crt_min_limit",  # as it comes out of the environment, whose names have no case
}
"""NIXL's spellings of our names."""

PEM, PATH = "cloudfront_private_key", "cloudfront_private_key_path"


def renames(values: Mapping[str, Any]) -> dict[str, str]:
    """Say which of these names are to be read as which others: aliases, and a private key under the other's name.

    A key that is a PEM belongs to `cloudfront_private_key`, any other text to `cloudfront_private_key_path`.

    Raises
    ------
    ConflictError
        If two spellings of one setting have different values.
    """
    moves = {source: target for source, target in ALIASES.items() if values.get(source) is not None}
    moves |= _misplaced_key(values)
    conflicts = [
        Conflict(f"{source} and {target} are one setting with two values: give one of them", (source, target))
        for source, target in moves.items()
        if values.get(target) not in (None, values[source]) and target not in moves
    ]
    if conflicts:
        raise ConflictError(conflicts)
    return moves


def _misplaced_key(values: Mapping[str, Any]) -> dict[str, str]:
    pem, path = values.get(PEM), values.get(PATH)
    moves = {}
    if isinstance(path, str) and is_pem(path):
        moves[PATH] = PEM
    if isinstance(pem, str) and not is_pem(pem):
        moves[PEM] = PATH
    return moves


def normalised(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values under our own names; raises as `renames` does."""
    moves = renames(values)
    return {moves.get(name, name): value for name, value in values.items() if value is not None or name not in ALIASES}
