"""Trying workflow files out in a process that may be lost."""

import logging
import os
import threading
import time

import pytest

from wildcast_server.jobs import probe, survey


@pytest.fixture
def write(tmp_path):
    """Write files of these texts; return their paths in order."""

    def make(*texts: str):
        paths = [tmp_path / f"{number}.py" for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        return paths

    return make


def test_files_that_can_be_imported_pass(write, tmp_path):
    """Each is imported once, by another process than this one."""
    text = f"import os, sys\nopen({str(tmp_path / 'pids')!r}, 'a').write(f'{{os.getpid()}} ')"
    assert probe(write(text, text)) == {}
    first, second = (tmp_path / "pids").read_text().split()
    assert first == second != str(os.getpid())


def test_what_raises_passes_too(write):
    """An exception ends no process, and whoever imports the file next sees it as well."""
    assert probe(write("1 / 0", "def", "raise SystemExit(1)", "\0")) == {}


def test_what_ends_the_process_is_named(write):
    """Exit code or signal and the last words are told; the files behind it are tried as well."""
    paths = write(
        "import os; print('last words', flush=True); os._exit(0)", "", "import ctypes; ctypes.string_at(0)", ""
    )
    refused = probe(paths)
    assert list(refused) == [paths[0], paths[2]]
    assert "exit code 0" in refused[paths[0]]
    assert "last words" in refused[paths[0]]
    assert "SIGSEGV" in refused[paths[2]]


def test_an_interrupt_that_nobody_typed_is_refused(write):
    """The service takes one for the operator's Ctrl-C, so a file that raises it would keep it from starting."""
    paths = write("raise KeyboardInterrupt", "")
    assert list(probe(paths)) == paths[:1]


def test_what_hangs_is_given_up(write):
    """It is named with how long it was waited for; those before and behind it pass."""
    paths = write("", "import time; time.sleep(600)", "")
    assert probe(paths, seconds=3) == {paths[1]: "it took longer than 3 seconds"}


def test_each_file_has_the_time(write):
    """Several slow files are not taken for one that hangs."""
    assert probe(write(*["import time; time.sleep(0.8)"] * 3), seconds=2) == {}


def test_no_file_needs_no_process(caplog):
    """Nothing is started for nothing."""
    caplog.set_level(logging.DEBUG)
    assert probe([]) == {}


def test_what_an_import_leaves_is_ended(write, tmp_path, eventually, is_running):
    """A process or thread that an import has started does not outlive the trial."""
    text = (
        "import subprocess, threading, time\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(subprocess.Popen(['sleep', '300']).pid))\n"
        "threading.Thread(target=time.sleep, args=(300,)).start()\n"
    )
    assert probe(write(text)) == {}
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: not is_running(pid))


def test_a_trial_that_is_told_to_stop_ends_at_once(write, tmp_path, eventually):
    """It does not wait for a file that hangs, refuses none for that, and tries no further one."""
    paths = write(
        f"import time; open({str(tmp_path / 'begun')!r}, 'w'); time.sleep(600)",
        f"open({str(tmp_path / 'next')!r}, 'w')",
    )
    stop, found = threading.Event(), []
    thread = threading.Thread(target=lambda: found.append(probe(paths, stop=stop)))
    thread.start()
    eventually((tmp_path / "begun").exists)
    began = time.monotonic()
    stop.set()
    thread.join(20)
    assert time.monotonic() - began < 10
    assert found == [{}]
    assert not (tmp_path / "next").exists()


def test_a_survey_tells_what_files_give(tmp_path):
    """Each workflow with its file and how long it may run; of two of one name, the first file has it."""
    texts = {
        "a.py": "@workflow(timeout_seconds=5)\ndef one() -> None: ...\n@workflow\ndef two() -> None: ...\n",
        "b.py": "import os\nos._exit(3)\n",
        "c.py": "@workflow\ndef one() -> None: ...\n"
        "class Three(Workflow):\n    name, timeout_seconds = 'three', 0.5\n    def run(self, *_): ...\n",
        "d.py": "raise ValueError\n",
        "e.py": "@workflow(timeout_seconds=-1)\ndef never() -> None: ...\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(f"from wildcast_server import Workflow, workflow\n{text}")
    seen = survey([tmp_path / name for name in texts])
    assert seen.workflows == {
        "one": (tmp_path / "a.py", 5.0),
        "two": (tmp_path / "a.py", None),
        "three": (tmp_path / "c.py", 0.5),
    }
    assert list(seen.refused) == [tmp_path / "b.py"]
