"""What is typed as a workflow's parameters, as the values that its schema asks for."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from difflib import get_close_matches
from typing import Any

from wildcast.cli.invocation import refuse
from wildcast.cli.pairs import split_pair

_ORDER = ("choice", "null", "integer", "number", "boolean", "date", "date-time", "object", "string", "array")
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class NotReadableError(ValueError):
    """The text is no value of that kind; says what would be one."""


def read_parameters(texts: Iterable[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Read ``name=value`` pairs by the schema of a workflow's parameters.

    A value that begins with ``[`` or ``{`` is JSON, where the parameter is no text. A list may also be given with
    commas, or item by item, as several pairs of one name.

    Parameters
    ----------
    texts
        The pairs.
    schema
        The JSON schema of the parameters, as `Client.schema` returns it.

    Raises
    ------
    click.UsageError
        If there is no such parameter, or a value is not of its kind.
    """
    given: dict[str, list[str]] = {}
    for text in texts:
        name, value = split_pair(text, "parameter")
        given.setdefault(name, []).append(value)
    return {name: _parameter(name, values, schema) for name, values in given.items()}


def _parameter(name: str, texts: list[str], schema: Mapping[str, Any]) -> Any:
    kinds = alternatives(_described(name, schema), schema)
    if len(texts) > 1 and not any(kind.get("type") == "array" for kind in kinds):
        refuse(f"The parameter {name!r} is given twice, and takes one value.")
    try:
        if len(texts) > 1:
            return [_item(text, kinds, schema) for text in texts]
        return read_value(texts[0], kinds, schema)
    except NotReadableError as error:
        refuse(f"The parameter {name!r} takes {error}.")


def _described(name: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", not known)
    if name not in known and not others:
        close = get_close_matches(name, known, 1)
        there = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known) or 'none'}."
        refuse(f"There is no parameter {name!r}; {there}")
    described = known.get(name, others)
    return described if isinstance(described, Mapping) else {}


def alternatives(described: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return each of the kinds that a value may be of, references followed."""
    reference = described.get("$ref", "")
    if reference.startswith("#/$defs/"):
        return alternatives(schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {}), schema)
    for word in ("anyOf", "oneOf", "allOf"):
        if word in described:
            return [kind for each in described[word] for kind in alternatives(each, schema)]
    if isinstance(described.get("type"), list):
        return [{**described, "type": kind} for kind in described["type"]]
    return [described]


def read_value(text: str, kinds: list[Mapping[str, Any]], schema: Mapping[str, Any]) -> Any:
    """Read one value, as the first of `kinds` that it can be.

    Raises
    ------
    NotReadableError
        If it can be none of them.
    """
    problems = []
    for kind in sorted(kinds, key=_strictness):
        try:
            return _read(text, kind, schema)
        except NotReadableError as error:
            problems.append(str(error))
    raise NotReadableError(" or ".join(dict.fromkeys(problems)))


def _strictness(kind: Mapping[str, Any]) -> int:
    """Order kinds so that a text is taken for what can be anything only if it is nothing else."""
    if "enum" in kind or "const" in kind:
        return 0
    # A time is told from any other text.
    name = kind["format"] if kind.get("format") in _TIMES else kind.get("type")
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _read(text: str, kind: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - one a kind
    if "enum" in kind or "const" in kind:
        return _choice(text, kind.get("enum", [kind.get("const")]))
    match kind.get("type"):
        case "array":
            return _array(text, kind, schema)
        case "object":
            return _json(text, dict, 'a JSON object, such as {"time": 12}')
        case "string":
            return _text(text, kind)
        case "boolean":
            return _boolean(text)
        case "null":
            if text != "null":
                raise NotReadableError("null")
            return None
        case "integer":
            return _number(text, int, "a whole number")
        case "number":
            return _number(text, _finite, "a number")
        case _:
            return _anything(text)


def _choice(text: str, choices: list[Any]) -> Any:
    for choice in choices:
        if text == (choice if isinstance(choice, str) else json.dumps(choice)):
            return choice
    raise NotReadableError(f"one of {', '.join(map(str, choices))}")


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise NotReadableError("true or false")
    return text.lower() in _TRUE


def _number(text: str, kind: Callable[[str], Any], otherwise: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise NotReadableError(otherwise) from None


def _finite(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        number = float(text)
    if number - number != 0:  # JSON has neither infinite numbers nor NaN
        raise ValueError(text)
    return number


def _moment(text: str) -> str:
    # As it was typed where it has no zone: which one is meant is the workflow's business.
    return datetime.fromisoformat(text).isoformat()


_TIMES: dict[str, tuple[Callable[[str], str], str]] = {
    "date-time": (_moment, "a time, such as 2026-01-28T06:00:00Z"),
    "date": (lambda text: date.fromisoformat(text).isoformat(), "a date, such as 2026-01-28"),
}


def _text(text: str, kind: Mapping[str, Any]) -> str:
    if kind.get("format") not in _TIMES:
        return text
    read, otherwise = _TIMES[kind["format"]]
    try:
        return read(text)
    except ValueError:
        raise NotReadableError(otherwise) from None


def _array(text: str, kind: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Any]:
    if text.lstrip().startswith("["):
        found: list[Any] = _json(text, list, "a list: JSON, or items with commas between them")
        return found
    return [_item(part.strip(), [kind], schema) for part in text.split(",")] if text else []


def _item(text: str, kinds: list[Mapping[str, Any]], schema: Mapping[str, Any]) -> Any:
    array = next(kind for kind in kinds if kind.get("type") == "array")
    return read_value(text, alternatives(array.get("items", {}), schema), schema)


def _json(text: str, kind: type, otherwise: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        raise NotReadableError(otherwise) from None
    if not isinstance(value, kind):
        raise NotReadableError(otherwise)
    return value


def _anything(text: str) -> Any:
    try:
        return json.loads(text) if text.lstrip().startswith(("[", "{")) else text
    except ValueError:
        raise NotReadableError("JSON where it begins so") from None
