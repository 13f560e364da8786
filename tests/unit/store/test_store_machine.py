"""Stores against a dictionary, by random histories."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from wildcast_server.errors import AlreadyExistsError, NotFoundError, RangeNotSatisfiableError
from wildcast_server.store import ByteRange, ObjectStore, SuffixRange, open_store

# Leaves and directories differ, because a store of files cannot hold `a` beside `a/b`.
KEYS = st.builds(
    lambda directories, leaf: "/".join([*directories, leaf]),
    st.lists(st.sampled_from(["d", "dd", "ü", "%2f"]), max_size=2),
    st.sampled_from(["x", "x y", "xy", "#", "日本"]),
)
DATA = st.binary(max_size=40)


class _StoreMachine(RuleBasedStateMachine):
    """Does to a store and to a dictionary the same."""

    def __init__(self) -> None:
        super().__init__()
        self.store = self.open()
        self.model: dict[str, bytes] = {}

    def open(self) -> ObjectStore:
        raise NotImplementedError

    @rule(key=KEYS, data=DATA)
    def put(self, key: str, data: bytes) -> None:
        self.store.put(key, data)
        self.model[key] = data

    @rule(key=KEYS, data=DATA)
    def put_parts(self, key: str, data: bytes) -> None:
        self.store.put_parts(key, [data], part_size=5 << 20, concurrency=2)
        self.model[key] = data

    @rule(key=KEYS, data=DATA)
    def put_if_absent(self, key: str, data: bytes) -> None:
        try:
            self.store.put_if_absent(key, data)
        except AlreadyExistsError:
            assert key in self.model
        else:
            assert key not in self.model
            self.model[key] = data

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        try:
            assert self.store.get(key) == self.model[key]
            assert self.store.head(key).size == len(self.model[key])
        except NotFoundError:
            assert key not in self.model

    @rule(key=KEYS, start=st.integers(0, 45), length=st.integers(1, 45))
    def get_range(self, key: str, start: int, length: int) -> None:
        if key not in self.model:
            return
        data = self.model[key]
        try:
            assert self.store.get(key, ByteRange(start, start + length)) == data[start : start + length]
        except RangeNotSatisfiableError:
            assert start >= len(data)
        if data:
            assert self.store.get(key, SuffixRange(length)) == data[-length:]

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.model.pop(key, None)

    @rule(prefix=st.sampled_from(["d", "dd/d", "ü", "x"]))
    def delete_prefix(self, prefix: str) -> None:
        gone = [key for key in self.model if key.startswith(f"{prefix}/")]
        assert self.store.delete_prefix(prefix) == len(gone)
        for key in gone:
            del self.model[key]

    @invariant()
    def lists_the_same(self) -> None:
        assert {info.key: info.size for info in self.store.list()} == {
            key: len(data) for key, data in self.model.items()
        }
        below = {key for key in self.model if key.startswith("d/")}
        assert {info.key for info in self.store.list("d")} == below


class MemoryMachine(_StoreMachine):
    """The memory store."""

    def open(self) -> ObjectStore:
        return open_store("memory://base")


class FileMachine(_StoreMachine):
    """The store of files."""

    def open(self) -> ObjectStore:
        self.directory = Path(tempfile.mkdtemp())
        return open_store(self.directory.as_uri())

    def teardown(self) -> None:
        shutil.rmtree(self.directory)


@pytest.mark.parametrize("machine", [MemoryMachine, FileMachine])
def test_a_store_is_a_dictionary(machine: type[_StoreMachine]):
    """Whatever is done in whatever order, the store holds what a dictionary would."""
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=25, deadline=None))
