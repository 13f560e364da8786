"""Which workflows a file of Earth2Studio's manner gives, and how one that cannot be used is told."""

import re

import pytest

PLAIN = """
from earth2studio.serve.server.workflow import Workflow, WorkflowConfig, WorkflowParameters, WorkflowRegistry
from pydantic import Field


class CountParameters(WorkflowParameters):
    '''How far to count.'''

    until: int = Field(default=3, ge=1, description="the last number")


class CountConfig(WorkflowConfig):
    first: int = 1


@WorkflowRegistry.instance().register
class Count(Workflow):
    '''Counts.

    In one file.
    '''

    name = "count"
    Parameters = CountParameters
    Config = CountConfig

    def run(self, parameters, execution_id):
        numbers = range(self.config.first, parameters["until"] + 1)
        (self.get_output_path(execution_id) / "numbers.txt").write_text(" ".join(map(str, numbers)))
"""


def test_a_registered_class_is_a_workflow(load_one):
    """Name, description and both models are the class's."""
    workflow = load_one(PLAIN)
    assert (workflow.name, workflow.description) == ("count", "Counts.")
    schema = workflow.Parameters.model_json_schema()
    assert schema["title"] == "CountParameters"
    assert schema["description"] == "How far to count."
    assert schema["properties"]["until"] == {
        "default": 3,
        "description": "the last number",
        "minimum": 1,
        "title": "Until",
        "type": "integer",
    }
    assert list(workflow.Config.model_fields) == ["first"]


def test_a_workflow_runs_with_its_configuration(load_one, run_here):
    """A class without a constructor of its own finds its configuration in `config`."""
    output, _ = run_here(load_one(PLAIN), {"first": 2}, until=4)
    assert (output / "numbers.txt").read_text() == "2 3 4"


def test_its_own_description_counts_more_than_its_docstring(load_one):
    """Where there are both, users see the description."""
    workflow = load_one(PLAIN.replace('name = "count"', 'name = "count"\n    description = "one, two, three"'))
    assert workflow.description == "one, two, three"


def test_a_constructor_gets_what_is_configured_and_nothing_else(load_one):
    """Configured values are keyword arguments, of the types that the model gives them; others keep their defaults."""
    workflow = load_one(
        """
        from datetime import timedelta
        from earth2studio.serve.server import Earth2Workflow, workflow_registry

        @workflow_registry.register
        class Sized(Earth2Workflow):
            def __init__(self, step: timedelta, size: int = 7):
                super().__init__()
                self.seen = (step.total_seconds(), size)

            def __call__(self, io): ...
        """
    )
    assert workflow(workflow.Config.model_validate({"step": "PT6H"}))._instance.seen == (21600, 7)


def test_a_constructor_may_forget_the_base_class(load_one, run_here):
    """Reporting and the output path do not hang on `super().__init__()`."""
    workflow = load_one(
        """
        from api_server.workflow import Workflow, workflow_registry

        @workflow_registry.register
        class Careless(Workflow):
            name = "careless"

            def __init__(self): ...

            def run(self, parameters, execution_id):
                self.update_execution_data(execution_id, {"path": str(self.get_output_path(execution_id))})
        """
    )
    output, progress = run_here(workflow)
    assert progress == [{"path": str(output)}]


def test_a_class_that_is_not_registered_is_none(load):
    """Base classes of an author's own are no workflows."""
    found = load(PLAIN.replace("@WorkflowRegistry.instance().register\n", ""))
    assert (found.registry.names(), found.failures) == ([], ())


def test_the_decorator_may_be_called(load_one):
    """Earth2Studio's documents have it with parentheses, too."""
    assert load_one(PLAIN.replace("instance().register", "instance().register()")).name == "count"


def test_one_file_may_register_several(load):
    """Each of a file's classes is a workflow, and one that is unusable harms no other."""
    found = load(
        PLAIN
        + """
@WorkflowRegistry.instance().register
class Abstract(Workflow):
    name = "abstract"
"""
    )
    assert found.registry.names() == ["count"]
    [failure] = found.failures
    assert failure.message.endswith("file.py: Abstract is not usable as a workflow: it has no run")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('name = "count"', "", "it has no name"),
        ('name = "count"', 'name = "workflows"', "is reserved"),
        ('name = "count"', 'name = "a b"', "is not a letter or digit"),
        ("    def run(", "    async def run(", "is asynchronous"),
        ("    Parameters = CountParameters", "    Parameters = dict", "its Parameters is not a pydantic model"),
        ("    Config = CountConfig", "    Config = None", "its Config is not a pydantic model"),
    ],
)
def test_an_unusable_class_is_told_with_its_file(failure_of, before, after, reason):
    """What keeps a class from being a workflow is one sentence that names it and its file."""
    message = failure_of(PLAIN.replace(before, after))
    assert reason in message
    assert "Count" in message


@pytest.mark.parametrize(
    ("register", "reason"),
    [
        ("class Again(Count): ...", "ValueError: the workflow 'count' is registered twice"),
        ("class Other: ...", "TypeError: <class '.*Other'> cannot be registered"),
        ("def function(): ...", "TypeError: <function function at .*> cannot be registered"),
    ],
)
def test_what_cannot_be_registered_fails_the_file(load, register, reason):
    """The decorator refuses it where it stands."""
    found = load(f"{PLAIN}\n@WorkflowRegistry.instance().register\n{register}\n")
    [failure] = found.failures
    assert failure.path.name == "file.py"
    assert re.search(reason, failure.message)


def test_a_name_is_taken_once_over_all_files(load, write_file):
    """The second of two files with one name is told with both paths."""
    write_file(PLAIN, "another.py")
    found = load(PLAIN)
    [failure] = found.failures
    assert "another.py" in failure.message
    assert "file.py" in failure.message
