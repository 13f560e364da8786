"""Publishing a directory where it is."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from wildcast_server.errors import UnpublishableFileError, UploadFailedError
from wildcast_server.publish import Publisher, publish_in_place, read_manifest
from wildcast_server.store import open_store

Directory = Callable[..., Path]
MakePublisher = Callable[..., Publisher]

NOW = datetime(2026, 11, 20, tzinfo=UTC)

SMALL = {"data/a": b"1", "data/empty": b"", ".hidden": b"22", "s/zarr.json": b'{"node_type": "array"}'}


def test_in_place(directory: Directory):
    """Publishing in place moves nothing and writes a manifest that a file store finds."""
    root = directory(SMALL, "exec_1_00000001")
    published = publish_in_place(root, "exec_1_00000001", attempt=2, clock=lambda: NOW)
    assert (published.storage_type, published.publication.verified) == ("server", "local")
    assert (published.publication.prefix, published.publication.attempt) == ("exec_1_00000001", 2)
    store = open_store(root.parent.as_uri())
    assert read_manifest(store, "exec_1_00000001") == published.manifest
    assert [row.path for row in published.manifest.rows] == sorted(SMALL)
    assert {path: (root / path).read_bytes() for path in SMALL} == SMALL


def test_in_place_again(directory: Directory):
    """Publishing in place is repeatable, also after a crash and after a change, and lists no file of ours."""
    root = directory(SMALL)
    first = publish_in_place(root, "run", clock=lambda: NOW)
    (root / ".wildcast/manifest.json.gz.partial").write_bytes(b"half")
    assert publish_in_place(root, "run", clock=lambda: NOW).manifest == first.manifest
    (root / "new").touch()
    again = publish_in_place(root, "run", attempt=2)
    assert again.publication.files == len(SMALL) + 1


def test_in_place_refuses_what_a_workflow_reserved(directory: Directory):
    """What a workflow wrote under the reserved name is not overwritten."""
    root = directory({**SMALL, ".wildcast/manifest.json.gz": b"mine"})
    with pytest.raises(UnpublishableFileError, match="reserved"):
        publish_in_place(root, "run")
    assert (root / ".wildcast/manifest.json.gz").read_bytes() == b"mine"


def test_in_place_then_into_a_store(watched: Any, publisher: MakePublisher, directory: Directory):
    """A directory that was published in place can be published into a store later."""
    root = directory(SMALL)
    publish_in_place(root, "run")
    assert publisher(watched).publish(root, "run").publication.files == len(SMALL)


def test_in_place_where_nothing_can_be_written(directory: Directory):
    """If the manifest cannot be written, that is an error, and nothing half is left."""
    root = directory(SMALL)
    (root / ".wildcast").mkdir()
    (root / ".wildcast/manifest.json.gz.partial").mkdir()
    with pytest.raises((UploadFailedError, UnpublishableFileError)):
        publish_in_place(root, "run")
