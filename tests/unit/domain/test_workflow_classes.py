"""Workflow classes and functions turned into them."""

import subprocess
import sys
from datetime import datetime, timedelta
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

import wildcast_server
from wildcast_server import RunContext, Workflow, workflow
from wildcast_server.domain.functions import from_function
from wildcast_server.domain.parameters import validate
from wildcast_server.errors import InvalidParametersError


class Forecast(Workflow):
    """Forecast the weather.

    And more
    of it.
    """

    name = "forecast"

    class Parameters(BaseModel):
        """How far."""

        steps: int = 3

    def run(self, parameters, context):
        """Write the steps."""
        (context.output_directory / "steps").write_text(str(parameters.steps))


def run(cls, tmp_path, **raw: object):
    cls(cls.Config()).run(validate(cls, raw), RunContext("exec_1_00000000", tmp_path))


def test_the_description_is_the_docstrings_first_paragraph():
    """A class without `description` is described by its docstring."""
    assert Forecast.description == "Forecast the weather."


def test_a_misspelt_parameter_is_an_error():
    """A model that says nothing about unknown fields refuses them."""
    with pytest.raises(InvalidParametersError, match="stepps"):
        validate(Forecast, {"stepps": 4})


def test_a_model_may_allow_more():
    """A model that says what to do with unknown fields is left as it is."""

    class Lenient(Forecast):
        class Parameters(BaseModel):
            model_config = ConfigDict(extra="ignore")

    assert validate(Lenient, {"other": 1}).model_dump() == {}


def test_parameters_must_be_a_model():
    """Another kind of `Parameters` is refused where the class is defined."""
    with pytest.raises(TypeError, match="pydantic"):

        class Wrong(Workflow):
            Parameters = dict


def test_a_function_becomes_a_workflow(tmp_path):
    """Hints, defaults, `Annotated` and the docstring of a function make a workflow that calls it."""

    @workflow
    def sample(
        start: datetime, levels: list[int], step: timedelta = timedelta(hours=6), *, n: Annotated[int, Field(ge=1)] = 2
    ) -> None:
        """Take samples."""
        (tmp_path / "seen").write_text(f"{start.isoformat()} {levels} {step} {n}")

    cls = from_function(sample)
    assert (cls.name, cls.description) == ("sample", "Take samples.")
    run(cls, tmp_path, start="2026-01-02T03:04:05Z", levels=[1, 2], step="PT1H")
    assert (tmp_path / "seen").read_text() == "2026-01-02T03:04:05+00:00 [1, 2] 1:00:00 2"
    with pytest.raises(InvalidParametersError, match="n: Input should be greater"):
        validate(cls, {"start": "2026-01-02", "levels": [], "n": 0})


def test_a_marked_function_is_still_a_function():
    """The decorator returns the function itself."""

    @workflow(name="twice", description="Double.")
    def double(x: int) -> int:
        return 2 * x

    assert double(3) == 6
    assert (from_function(double).name, from_function(double).description) == ("twice", "Double.")


@pytest.mark.parametrize("annotation", [RunContext, None, "RunContext"])
def test_the_context_is_injected(tmp_path, annotation):
    """A parameter annotated RunContext, or named context, is not one of the request's."""

    def write(context, text: str = "x"):
        (context.output_directory / "a").write_text(text)

    if annotation:
        write.__annotations__["context"] = annotation
    cls = from_function(workflow(write))
    assert list(cls.Parameters.model_fields) == ["text"]
    run(cls, tmp_path, text="hello")
    assert (tmp_path / "a").read_text() == "hello"


def test_the_context_may_have_any_name(tmp_path):
    """The annotation decides, not the name."""

    @workflow
    def write(surroundings: RunContext) -> None:
        (surroundings.output_directory / "a").touch()

    run(from_function(write), tmp_path)
    assert (tmp_path / "a").exists()


def no_hint(x): ...
def variadic(*values: int): ...
def unresolved(x: "Missing"): ...  # noqa: F821 - the point of the test
def positional(x: int, /): ...
async def asynchronous(x: int): ...
def generator(x: int):
    yield x


@pytest.mark.parametrize("function", [no_hint, variadic, unresolved, positional, asynchronous, generator])
def test_a_signature_that_says_too_little_is_refused(function):
    """What cannot become a model, or would compute nothing when called, is a named error."""
    with pytest.raises(TypeError, match=function.__name__):
        from_function(workflow(function))


def test_the_schema_names_types_and_defaults():
    """The model's JSON schema is what clients are shown."""

    @workflow
    def sample(n: int = 2) -> None: ...

    schema = from_function(sample).Parameters.model_json_schema()
    assert schema["properties"]["n"] == {"default": 2, "title": "N", "type": "integer"}
    assert schema["additionalProperties"] is False


def test_the_package_is_lazy():
    """Importing the package imports nothing of it, and its names are the authors' ones."""
    code = (
        "import sys, wildcast_server; print([m for m in sys.modules if m.startswith(('wildcast_server.', 'pydantic'))])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert wildcast_server.__all__ == ["ExecutionCancelledError", "RunContext", "Workflow", "workflow"]


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    """A misspelt import fails as it does anywhere."""
    with pytest.raises(AttributeError, match="Wokflow"):
        wildcast_server.Wokflow  # noqa: B018 - the access is the test
