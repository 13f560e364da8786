"""What is typed as parameters becomes what the workflow's schema asks for."""

import click
import pytest
from tests.unit.client.cli.conftest import Many

from wildcast.cli.schemas import kind_text, schema_text
from wildcast.cli.values import read_parameters

SCHEMA = Many.Parameters.model_json_schema()


def read(*texts: str):
    return read_parameters(texts, SCHEMA)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("source=a=b", "a=b"),
        ("source=", ""),
        ("source=12", "12"),
        ("source=[not json", "[not json"),
        ("steps=12", 12),
        ("scale=2", 2),
        ("scale=-1e3", -1000.0),
        ("flag=true", True),
        ("flag=No", False),
        ("start=2026-01-28", "2026-01-28T00:00:00"),
        ("start=2026-01-28T06:00Z", "2026-01-28T06:00:00+00:00"),
        ("day=20260128", "2026-01-28"),
        ("day=null", None),
        ("lead=PT6H", "PT6H"),
        ("names=t2m, u10m", ["t2m", "u10m"]),
        ("names=t2m", ["t2m"]),
        ('names=["a,b"]', ["a,b"]),
        ("names=", []),
        ("names=null", None),
        ("levels=500,850", [500, 850]),
        ("levels=[1, 2]", [1, 2]),
        ("mode=7", "7"),
        ("size=large", "large"),
        ('chunks={"time": 12}', {"time": 12}),
        ("either=12", 12),
        ("either=twelve", "twelve"),
        ("either=null", None),
    ],
)
def test_values_are_read_by_the_schema(text, value):
    """Each kind in its own way; and what is read is what the workflow's model takes."""
    found = read(text)
    assert found == {text.partition("=")[0]: value}
    assert type(found[text.partition("=")[0]]) is type(value)
    Many.Parameters.model_validate({"source": "x", **found})


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("0", 0), ("1.5", 1.5), ("true", True), ("no", False)])
def test_a_figure_is_a_number_where_one_may_be(text, value):
    """Also where a word for yes or no may be as well; where a number may not, it is such a word."""
    kinds = [{"type": kind} for kind in ("boolean", "integer", "number")]
    found = read_parameters([f"n={text}"], {"properties": {"n": {"anyOf": kinds}}})["n"]
    assert (found, type(found)) == (value, type(value))
    assert read_parameters([f"n={int(value)}"], {"properties": {"n": {"type": "boolean"}}})["n"] is bool(int(value))


def test_a_list_may_be_given_item_by_item():
    """As pairs of one name, in their order."""
    assert read("levels=1", "source=x", "levels=2") == {"levels": [1, 2], "source": "x"}


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["steps"], "name=value"),
        (["=1"], "name=value"),
        (["step=1"], "did you mean 'steps'"),
        (["zzz=1"], "there are: source, steps"),
        (["steps=few"], "'steps' takes a whole number"),
        (["steps=1.5"], "takes a whole number"),
        (["scale=nan"], "takes a number"),
        (["scale=big"], "takes a number"),
        (["flag=maybe"], "true or false"),
        (["start=yesterday"], "takes a time"),
        (["day=soon"], "takes null or a date"),
        (["levels=1,b"], "takes a whole number"),
        (["levels=[1"], "takes a list"),
        (["chunks=12"], "a JSON object"),
        (["chunks=[1]"], "a JSON object"),
        (["mode=slow"], "fast, exact, 7"),
        (["steps=1", "steps=2"], "given twice"),
    ],
)
def test_what_is_not_of_its_kind_is_refused(texts, sentence):
    """By the parameter's name, with what it takes."""
    with pytest.raises(click.UsageError) as caught:
        read(*texts)
    assert sentence in caught.value.message


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({}, "a=[1, 2]", [1, 2]),
        ({}, "a=x", "x"),
        ({"properties": {}, "additionalProperties": False}, "a=1", None),
        ({"properties": {"b": {}}, "additionalProperties": {"type": "integer"}}, "a=1", 1),
        ({"properties": {"a": {"type": ["integer", "null"]}}}, "a=null", None),
        ({"properties": {"a": {"const": 3}}}, "a=3", 3),
        ({"properties": {"a": {"allOf": [{"$ref": "#/$defs/A"}]}}, "$defs": {"A": {"type": "boolean"}}}, "a=yes", True),
    ],
)
def test_schemas_of_other_servers_are_read_too(schema, text, value):
    """References, several types, free parameters, and none at all."""
    if schema.get("additionalProperties") is False:
        with pytest.raises(click.UsageError, match="there are: none"):
            read_parameters([text], schema)
        return
    assert read_parameters([text], schema) == {"a": value}


def test_json_that_is_none_is_refused_where_anything_goes():
    """What begins like JSON is not silently a text."""
    with pytest.raises(click.UsageError, match="takes JSON"):
        read_parameters(["a=[1"], {})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("source", "text"),
        ("steps", "whole number, at least 1 and at most 100"),
        ("scale", "number"),
        ("start", "time"),
        ("day", "date or null"),
        ("lead", "duration"),
        ("names", "list of text or null"),
        ("levels", "list of whole number"),
        ("mode", "fast | exact | 7"),
        ("size", "small | large"),
        ("chunks", "object or null"),
        ("flag", "true or false"),
    ],
)
def test_kinds_are_words(name, kind):
    """Bounds and choices among them."""
    assert kind_text(SCHEMA["properties"][name], SCHEMA) == kind


def test_a_schema_is_a_table():
    """A line for each parameter: what has to be given, and what holds otherwise."""
    lines = schema_text("many", "Take all kinds.", SCHEMA).splitlines()
    assert lines[0] == "many: Take all kinds."
    assert lines[2].split() == ["PARAMETER", "KIND", "DEFAULT", "DESCRIPTION"]
    assert lines[3].split(maxsplit=3) == ["source", "text", "(required)", "Where it comes from."]
    assert "[500, 850]" in next(line for line in lines if line.startswith("levels"))
    assert schema_text("none", "", {}).endswith("It takes no parameters.")
