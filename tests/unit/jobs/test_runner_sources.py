"""A runner that knows each workflow's file imports that one alone."""

import threading

import pytest

from wildcast_server.errors import RunnerDiedError, WorkflowLoadError
from wildcast_server.jobs import Runner

HEAD = (
    "import os, sys, time\nfrom pydantic import BaseModel\nfrom wildcast_server import RunContext, Workflow, workflow\n"
)

FILES = {
    "good": "@workflow\ndef good(context: RunContext) -> None:\n    context.progress(pid=os.getpid())",
    "exits": "os._exit(3)\n@workflow\ndef exits() -> None: ...",
    "hangs": "time.sleep(600)\n@workflow\ndef hangs() -> None: ...",
    "broken": "import not_installed_anywhere\n@workflow\ndef broken() -> None: ...",
    "unbuildable": (
        "class Unbuildable(Workflow):\n    name = 'unbuildable'\n"
        "    def __init__(self, config):\n        raise OSError('no model')\n"
        "    def run(self, parameters, context): ...\n"
    ),
    "renamed": "@workflow\ndef other() -> None: ...",
}


@pytest.fixture
def sources(tmp_path):
    """Write files that fail in every way, and one that does not; give each by its workflow's name."""
    made = {name: tmp_path / "flows" / f"{name}.py" for name in FILES}
    (tmp_path / "flows").mkdir()
    for name, text in FILES.items():
        made[name].write_text(f"{HEAD}{text}\n")
    return made


@pytest.fixture
def runner(sources, tmp_path):
    """Make a runner that is closed at the end."""
    with Runner([tmp_path / "flows"], sources=sources) as made:
        yield made


@pytest.fixture
def run(runner, request_of):
    """Run a workflow and return its progress."""

    def call(workflow: str, **parameters: object):
        progress = []
        runner.run(request_of(workflow, **parameters), progress.append)
        return progress

    return call


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("exits", RunnerDiedError, "exit code 3"),
        ("broken", WorkflowLoadError, "not_installed_anywhere"),
        ("unbuildable", WorkflowLoadError, "OSError: no model"),
        ("renamed", WorkflowLoadError, "there is no workflow 'renamed'"),
    ],
)
def test_a_file_that_fails_is_named_and_harms_no_other(run, sources, name, error, words):
    """Its own execution fails with file and reason; the one before and the one after it run."""
    run("good")
    with pytest.raises(error, match=words) as caught:
        run(name)
    assert str(sources[name]) in str(caught.value)
    assert run("good")


def test_a_file_that_cannot_be_loaded_costs_no_warm_process(run):
    """What others keep loaded stays loaded, however often somebody asks for the broken one."""
    before = run("good")
    for name in ("broken", "unbuildable", "renamed"):
        with pytest.raises(WorkflowLoadError):
            run(name)
    assert run("good") == before


def test_a_mended_file_is_imported_again(run, sources):
    """A failed import is tried again at the next run, in the same process."""
    with pytest.raises(WorkflowLoadError):
        run("broken")
    sources["broken"].write_text(HEAD + "@workflow\ndef broken() -> None: ...")
    run("broken")


def test_a_mended_constructor_is_imported_again(run, sources):
    """A file that was imported well and then edited is imported again for what is not constructed yet."""
    with pytest.raises(WorkflowLoadError):
        run("unbuildable")
    sources["unbuildable"].write_text(HEAD + FILES["unbuildable"].replace("raise OSError('no model')", "pass"))
    run("unbuildable")


def test_what_has_no_source_is_unknown(run):
    """Nothing is searched for it, so that no other file is imported."""
    with pytest.raises(WorkflowLoadError, match="has a workflow 'other', or it failed to load"):
        run("other")


def test_an_import_that_hangs_is_cancelled(runner, request_of, eventually):
    """It keeps the process busy as any run does, until somebody cancels it."""
    errors = []

    def hang() -> None:
        try:
            runner.run(request_of("hangs"), lambda _: None)
        except Exception as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    eventually(lambda: runner.pid)
    eventually(lambda: runner.cancel(0.2))
    thread.join(20)
    assert "was cancelled" in str(errors[0])
    runner.run(request_of("good"), lambda _: None)
