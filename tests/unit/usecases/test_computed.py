"""Knowing how far a computation had come: on another machine, and after a start of this one."""

import os

import pytest

from wildcast_server.domain.execution import Execution
from wildcast_server.usecases import computed, disk
from wildcast_server.usecases.computed import Marks

EXECUTION = Execution(id="exec_1_00000001", workflow_name="w", parameters={})


@pytest.fixture
def marks(tmp_path):
    """Those beside one output directory."""
    (tmp_path / EXECUTION.name).mkdir()
    return Marks(tmp_path)


@pytest.fixture
def machine(monkeypatch):
    """Say which start of which machine this is, whether others have its disk, and fail to write that out."""

    def be(boot="one", *, is_shared=False, error=None):
        def write_out(_root):
            if error is not None:
                raise error

        monkeypatch.setattr(computed, "_boot", lambda: boot)
        monkeypatch.setattr(computed, "may_be_shared", lambda _root: is_shared)
        monkeypatch.setattr(computed, "write_out", write_out)

    return be


def is_whole(marks):
    found, is_lost = marks.find(EXECUTION), marks.is_lost(EXECUTION)
    assert (found is None) is is_lost
    return not is_lost


def test_another_machine_with_the_same_disk_relies_on_it(marks, machine):
    """It was started at another time, and nothing has crashed."""
    machine("one", is_shared=True)
    marks.set(EXECUTION)
    machine("two", is_shared=True)
    assert is_whole(marks)


def test_another_machine_does_not_rely_on_what_could_not_be_written_out(marks, machine, caplog):
    """A disk that failed in that has perhaps not all of it."""
    machine("one", is_shared=True, error=OSError("I/O error"))
    marks.set(EXECUTION)
    assert "compute it again: I/O error" in caplog.text
    assert is_whole(marks)
    machine("two", is_shared=True)
    assert not is_whole(marks)


def test_on_a_disk_of_its_own_nothing_waits_for_that(marks, machine):
    """Most outputs are published and removed long before they would be on the disk."""
    machine("one", error=AssertionError("written out"))
    marks.set(EXECUTION)
    assert is_whole(marks)
    machine("two")
    assert not is_whole(marks)


def test_what_is_kept_outlives_the_machine(marks, machine):
    """One that fails to be published, or whose worker was stopped in order, is published after the next start."""
    machine("one")
    marks.set(EXECUTION)
    marks.keep()
    machine("two", error=AssertionError("written out once more"))
    marks.keep()
    assert is_whole(marks)


def test_what_a_crash_came_before_is_not_kept(marks, machine):
    """What is on the disk now may be less than what was written."""
    machine("one")
    marks.set(EXECUTION)
    machine("two")
    marks.keep([EXECUTION.name])
    assert not is_whole(marks)


def test_what_was_removed_meanwhile_is_not_noted_anew(marks, machine, monkeypatch, tmp_path):
    """Writing out takes a while, in which another worker may publish it."""
    machine("one")
    marks.set(EXECUTION)
    monkeypatch.setattr(computed, "write_out", lambda _root: marks.remove(EXECUTION.name))
    marks.keep()
    assert [path.name for path in tmp_path.iterdir()] == [EXECUTION.name]


def test_a_disk_that_cannot_be_written_out_is_told(marks, machine, caplog):
    """The output stays, as one that a crash would lose."""
    machine("one", error=OSError("I/O error"))
    marks.set(EXECUTION)
    marks.keep()
    assert "a crash of the machine would lose what was computed" in caplog.text
    machine("two")
    assert not is_whole(marks)


@pytest.mark.parametrize(
    ("kind", "is_shared"), [("ext4", False), ("overlay", False), ("nfs4", True), ("fuse.glusterfs", True)]
)
def test_the_kind_of_a_file_system_says_whether_others_may_have_it(tmp_path, kind, is_shared):
    """The kernel's list of what is mounted tells it by the device's number."""
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 27 0:4711 / /proc rw,relatime - proc proc rw\n"
        f"27 1 {os.major(device)}:{os.minor(device)} / / rw,relatime shared:1 - {kind} server:/x rw\n"
    )
    assert disk.may_be_shared(tmp_path, mounts) is is_shared


def test_what_is_not_known_may_be_shared(tmp_path):
    """A subvolume, or no Linux."""
    mounts = tmp_path / "mountinfo"
    assert disk.may_be_shared(tmp_path, mounts)
    mounts.write_text("22 27 0:4711 / /proc rw,relatime - proc proc rw\n")
    assert disk.may_be_shared(tmp_path, mounts)


@pytest.mark.skipif(not os.path.exists("/proc/self/mountinfo"), reason="needs Linux")  # noqa: PTH110
def test_a_file_system_is_written_out(tmp_path):
    """Or the system's error is raised."""
    disk.write_out(tmp_path)
    with pytest.raises(FileNotFoundError):
        disk.write_out(tmp_path / "nowhere")
