"""What names a machine, its disk and its workers, over every restart and between processes that start together."""

import os
import subprocess
import sys
import threading

import pytest

from wildcast_server.errors import SettingsError
from wildcast_server.settings import load_settings
from wildcast_server.wiring.identity import instance_of, site_of, take_slot


@pytest.fixture
def settings(tmp_path):
    """Settings of a machine that has run nothing yet."""
    return load_settings({"data_dir": tmp_path / "data"}, environ={}, cwd=tmp_path).settings


def test_the_names_stay(settings):
    """They are made once, and are eight hexadecimal digits each."""
    names = instance_of(settings), site_of(settings)
    assert (instance_of(settings), site_of(settings)) == names
    assert all(len(name) == 8 and int(name, 16) >= 0 for name in names)
    assert names[0] != names[1]


def test_all_who_start_together_read_one_name(settings):
    """Whoever is second takes the first one's."""
    found, start = [], threading.Barrier(16)

    def look():
        start.wait(10)
        found.append(site_of(settings))

    threads = [threading.Thread(target=look) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1
    assert [path.name for path in settings.output_dir.iterdir()] == [".site"]


def test_a_slot_is_one_workers(settings):
    """The next worker has the next slot; another label has slots of its own; what is given back is free."""
    with take_slot(settings, "compute") as first:
        with take_slot(settings, "compute") as second, take_slot(settings, "publish") as other:
            assert [first.slot, second.slot, other.slot] == [0, 1, 0]
            assert len({first.id, second.id, other.id}) == 3
        with take_slot(settings, "compute") as third:
            assert third.id == second.id
    assert first.id == f"{first.host}-{first.instance}-compute-0"


def test_a_killed_workers_slot_is_the_next_ones(settings, tmp_path):
    """The operating system gives the lock back, and so the name and what was done under it."""
    code = f"""
import os, signal
from pathlib import Path
from wildcast_server.settings import load_settings
from wildcast_server.wiring.identity import take_slot

settings = load_settings({{"data_dir": {str(settings.data_dir)!r}}}, environ={{}}, cwd=Path({str(tmp_path)!r})).settings
with take_slot(settings, "compute") as taken:
    print(taken.slot, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.stdout == "0\n"
    with take_slot(settings, "compute") as taken:
        assert taken.slot == 0


def test_one_that_hangs_is_not_outlived(settings):
    """Whoever has its lock may still write, whatever the records say; of another machine nobody here can tell."""
    with take_slot(settings, "compute") as first, take_slot(settings, "compute") as second:
        assert not second.has_outlived(first.id)
        assert second.has_outlived(second.id)
        assert not second.has_outlived(f"{second.host}-00000000-compute-0")
        assert not second.has_outlived(None)
        assert second.has_outlived(f"{second.host}-{second.instance}-compute-7")
    with take_slot(settings, "publish") as third:
        assert third.has_outlived(first.id)


def test_another_machine_is_told_by_its_name(settings):
    """Workers beside this one share its data directory; any other may live without being seen from here."""
    with take_slot(settings, "compute") as identity:
        assert identity.is_beside(identity.id)
        assert identity.is_beside(f"{identity.host}-{identity.instance}-publish-7")
        assert not identity.is_beside(f"{identity.host}-00000000-compute-0")
        assert not identity.is_beside(None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_named(settings):
    """The sentence has the setting and the path."""
    settings.data_dir.mkdir()
    settings.data_dir.chmod(0o500)
    with pytest.raises(SettingsError, match=r"data_dir .* cannot be written"):
        instance_of(settings)
