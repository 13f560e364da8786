"""Streamed files as a run has them: which names there may be, how many at a time, and what is left at its end."""

import json
import os

import pytest

from wildcast_server.errors import (
    AlreadyExistsError,
    InvalidUriError,
    WorkflowFailedError,
)
from wildcast_server.store import StoreOptions
from wildcast_server.transfer.ledger import read_ledger
from wildcast_server.transfer.streaming import open_sink, options_of, plain_options
from wildcast_server.transfer.writer import MAX_OPEN_FILES

MIB = 1 << 20
PART = 5 * MIB


def test_creating_only_if_absent(context, store):
    """What is there already is refused when it is opened, and what appears meanwhile when it is closed."""
    with context.open("a") as file:
        file.write(b"ours")
    with pytest.raises(FileExistsError, match="if_absent=True"):
        context.open("a", if_absent=True)
    file = context.open("b", if_absent=True)
    file.write(b"ours")
    store.put("p/exec/b", b"theirs")
    with pytest.raises(AlreadyExistsError):
        file.close()
    assert store.get("p/exec/b") == b"theirs"


def test_a_lost_answer_to_a_conditional_create_is_no_failure(context, store, ledger):
    """The object that is there is the very one that was sent."""
    file = context.open("b", if_absent=True)
    file.write(b"ours")
    store.put("p/exec/b", b"ours")
    file.close()
    assert read_ledger(ledger)["b"].etag == store.head("p/exec/b").etag


def test_a_large_conditional_create_asks_the_store_for_it(context, store):
    """The condition travels with the multipart upload; a store that knows none is looked into before."""
    with context.open("a", if_absent=True) as file:
        file.write(bytes(PART + 1))
    assert store.conditional == ["p/exec/a"]
    assert store.head("p/exec/a").size == PART + 1
    store.put("p/exec/b", b"theirs")
    with pytest.raises(AlreadyExistsError), context.open("b", if_absent=True) as file:
        file.write(bytes(PART + 1))
    assert store.get("p/exec/b") == b"theirs"


def test_a_name_that_is_on_disk_is_refused(context, tmp_path):
    """One place has one file."""
    (tmp_path / "output" / "a").write_bytes(b"x")
    with pytest.raises(FileExistsError, match="is in the output directory already"):
        context.open("a")


def test_documents_stay_on_disk(context, store, tmp_path):
    """What describes a zarr store goes up last, whoever writes it."""
    with context.open("a.zarr/.zattrs") as file:
        file.write(b"{}")
    assert (tmp_path / "output/a.zarr/.zattrs").read_bytes() == b"{}"
    assert list(store.list("p")) == []


def test_a_file_that_is_not_closed_fails_the_run(sink, context, store, ledger):
    """By its name, and nothing is left of it."""
    context.open("a.nc").write(bytes(2 * PART))
    with pytest.raises(WorkflowFailedError, match=r"a\.nc was opened with context\.open and never closed"):
        sink.finish()
    assert (list(store.list("p")), store.completed, read_ledger(ledger)) == ([], [], {})


def test_aborting_the_run_aborts_what_is_open(sink, context, store):
    """A cancelled workflow leaves no upload behind, and cannot go on."""
    file = context.open("a")
    file.write(bytes(2 * PART))
    sink.abort()
    sink.abort()
    assert file.closed
    assert store.completed == []
    with pytest.raises(ValueError, match="a is closed"):
        file.write(b"x")
    with pytest.raises(RuntimeError, match="the run has ended"):
        context.open("b")


def test_open_files_are_bounded(context):
    """Each holds memory; one more than there may be is told to close another."""
    files = [context.open(str(number)) for number in range(MAX_OPEN_FILES)]
    with pytest.raises(OSError, match="close one first"):
        context.open("more")
    files[0].close()
    context.open("more").close()


def test_files_in_turn_never_wait_for_each_other(context, store):
    """One thread may write as many files as may be open, a part each in turn; none needs what another has."""
    files = [context.open(str(number)) for number in range(MAX_OPEN_FILES)]
    for _ in range(2):
        for file in files:
            file.write(bytes(PART))
    for file in files:
        file.write(b"end")
        file.close()
    assert len(store.completed) == MAX_OPEN_FILES
    assert sum(store.concurrency.values()) <= 16 + MAX_OPEN_FILES
    assert max(store.concurrency.values()) == 8


def test_a_fork_cannot_stream(context):
    """Connections do not survive a fork, and two that write one file would mix it."""
    file = context.open("a")
    file._owner = -1
    with pytest.raises(RuntimeError, match="only the process that runs the workflow"):
        file.write(b"x")
    file._owner = os.getpid()
    file.close()


def test_store_options_travel_as_json(tmp_path):
    """What the worker knows of the store reaches the runner's process unchanged."""
    options = StoreOptions(
        access_key_id="a", secret_access_key="canary", ca_bundle=tmp_path, tags={"team": "x"}, retry_deadline=1.5
    )
    assert options_of(json.loads(json.dumps(plain_options(options)))) == options


def test_the_factory_opens_the_store_by_its_uri(tmp_path):
    """It is given plain values, and what cannot be opened is an error of ours."""
    arguments = {"options": plain_options(StoreOptions()), "prefix": "p", "ledger": str(tmp_path / "ledger")}
    sink = open_sink(tmp_path, store=(tmp_path / "objects").as_uri(), **arguments)
    with sink.open("a") as file:
        file.write(b"x")
    sink.finish()
    assert (tmp_path / "objects/p/a").read_bytes() == b"x"
    with pytest.raises(InvalidUriError):
        open_sink(tmp_path, store="nowhere", **arguments)
