"""Zarr metadata whose data can only be decoded by running code are refused, before any of the data is read.

`zarr.json` is that of the zarr 3 specification, with the sharding codec's inner codecs and xarray's inline consolidated
metadata; ``.zarray`` and ``.zmetadata`` are those of zarr 2.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from wildcast._errors import UnsafeDataError, shown

_RUNS_CODE = re.compile(r"pickle|dill|marshal|joblib", re.IGNORECASE)
"""Codecs that unpickle: numcodecs' ``pickle`` (in zarr 3 ``numcodecs.pickle``), and what others might register."""

_MEMBERS = ("filters", "compressor", "codecs", "index_codecs", "storage_transformers")

_CHECKED = ("zarr.json", ".zarray", ".zmetadata")


def check_codecs(path: str, body: bytes) -> None:
    """Refuse metadata that name a codec which runs code; anything else passes, and what is no metadata too.

    Raises
    ------
    UnsafeDataError
        If `path` is of zarr's metadata, and such a codec is among those of an array in it.
    """
    name = path.rpartition("/")[2]
    if name not in _CHECKED:
        return
    try:
        # As zarr decodes it, which takes UTF-16 and UTF-32 as well: only in the document are the names what they say.
        document = json.loads(body)
    except ValueError:
        return  # zarr says what is wrong with it.
    nodes = _nodes_of_zarr2(document) if name == ".zmetadata" else _nodes_of(document)
    for codec in (codec for node in nodes for codec in _codecs_of(node)):
        if _RUNS_CODE.search(codec):
            raise UnsafeDataError(
                f"{shown(path)} asks for the codec {shown(codec)}, which runs code that comes with the data, so "
                "nothing was read. Have the workflow write strings instead (in zarr 2 with vlen-utf8 or json2); "
                "if you trust its author, download the store and read it from disk."
            )


def _nodes_of(document: Any) -> Iterator[Any]:
    """Yield a group or array, and every one that its consolidated metadata describe."""
    yield document
    consolidated = document.get("consolidated_metadata") if isinstance(document, dict) else None
    nodes = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    for node in nodes.values() if isinstance(nodes, dict) else ():
        yield from _nodes_of(node)


def _nodes_of_zarr2(document: Any) -> Iterator[Any]:
    nodes = document.get("metadata") if isinstance(document, dict) else None
    for key, node in nodes.items() if isinstance(nodes, dict) else ():
        if key.rpartition("/")[2] == ".zarray":
            yield node


def _codecs_of(node: Any) -> Iterator[str]:
    for member in _MEMBERS if isinstance(node, dict) else ():
        yield from _names(node.get(member))


def _names(codecs: Any) -> Iterator[str]:
    for codec in codecs if isinstance(codecs, list) else [codecs]:
        if isinstance(codec, str):
            yield codec
        if isinstance(codec, dict):
            yield from (str(codec[key]) for key in ("id", "name") if key in codec)
            # Of a shard.
            yield from _codecs_of(codec.get("configuration"))
