"""The registry."""

from pathlib import Path

import pytest

from wildcast_server import Workflow, workflow
from wildcast_server.domain.registry import Registry
from wildcast_server.errors import SettingsError, UnknownWorkflowError, WorkflowLoadError


def named(name):
    return type("Sample", (Workflow,), {"name": name, "run": lambda *_: None})


def registry(*names: str):
    made = Registry()
    for name in names:
        made.add(named(name), Path(f"{name}.py"))
    return made


def test_a_workflow_is_found_by_its_name():
    """What was added is found, with its file."""
    one = registry("b", "a")
    assert one.names() == ["a", "b"]
    assert one.get("a").name == "a"
    assert one.source("a") == Path("a.py")


def test_a_marked_function_is_made_a_class():
    """A function that `workflow` has marked may be added as it is."""

    @workflow
    def sample(n: int) -> None: ...

    assert issubclass(registry().add(sample), Workflow)


def test_an_unknown_name_lists_the_known_ones():
    """The error says what there is."""
    with pytest.raises(UnknownWorkflowError, match="there is a, b"):
        registry("b", "a").get("c")


def test_a_name_belongs_to_one_file():
    """The second workflow of a name is refused, and both files are named."""
    one = registry("a")
    with pytest.raises(WorkflowLoadError, match=r"a\.py and in other\.py"):
        one.add(named("a"), Path("other.py"))
    assert one.source("a") == Path("a.py")


@pytest.mark.parametrize("name", ["", "workflows", "-a", ".a", "a b", "a/b", "ä", "a\n"])
def test_a_name_that_no_path_can_carry_is_refused(name):
    """Reserved and malformed names are refused."""
    with pytest.raises(WorkflowLoadError, match="name"):
        registry().add(named(name))


@pytest.mark.parametrize("candidate", [int, print, Workflow, 3])
def test_what_is_no_workflow_is_refused(candidate):
    """Other classes, unmarked functions and the abstract base are refused."""
    with pytest.raises(WorkflowLoadError, match="not usable"):
        registry().add(candidate)


def test_an_asynchronous_run_is_refused():
    """Calling a coroutine function computes nothing, and would succeed in silence."""

    class Sample(Workflow):
        name = "sample"

        async def run(self, parameters, context): ...

    with pytest.raises(WorkflowLoadError, match="asynchronous"):
        registry().add(Sample)


def test_the_exposed_are_a_view():
    """A list exposes those workflows only; None exposes all."""
    one = registry("a", "b")
    assert one.exposed(["b"]).names() == ["b"]
    assert one.exposed([]).names() == []
    assert one.exposed(None).names() == ["a", "b"]


def test_exposing_the_unknown_is_an_error():
    """A misspelt name in the exposure list is not ignored."""
    with pytest.raises(SettingsError, match="cannot expose c: the workflows are a"):
        registry("a").exposed(["a", "c"])
