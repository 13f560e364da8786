"""Parameters: from what a request holds to a workflow's model, to the record, and back in the runner."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError
from pydantic_core import to_json as encode_json

from wildcast_server.domain.iso8601 import mistaken_dates, refused_times
from wildcast_server.domain.workflow import Workflow
from wildcast_server.errors import InvalidParametersError, WorkflowError


def validate(workflow: type[Workflow], raw: Mapping[str, Any]) -> BaseModel:
    """Make a workflow's parameters of JSON values (dates and paths may also be Python's own).

    Raises
    ------
    InvalidParametersError
        If the workflow does not accept them; ``fields`` names each that is wrong, and no value is repeated.
    """
    return _parse(workflow, raw, by_name=False)


def restore(workflow: type[Workflow], recorded: Mapping[str, Any]) -> BaseModel:
    """Make a workflow's parameters of what `to_json` returned.

    Raises
    ------
    InvalidParametersError
        As `validate`: the workflow may have changed since.
    """
    return _parse(workflow, recorded, by_name=True)


def to_json(parameters: BaseModel) -> dict[str, Any]:
    """Return parameters as the JSON values that the record keeps.

    Raises
    ------
    InvalidParametersError
        If they would not be the same when they are read again: a NaN, a field that hides or drops its value.
    """
    try:
        values: dict[str, Any] = parameters.model_dump(mode="json", by_alias=True, round_trip=True, warnings="none")
    except PydanticSerializationError as error:
        raise _unrecordable(list(type(parameters).model_fields)) from error
    if not_json := [name for name, value in values.items() if not _is_json(value)]:
        raise _unrecordable(not_json)
    try:
        again = type(parameters).model_validate_json(json.dumps(values), by_alias=True, by_name=True)
    except ValidationError as error:
        raise _unrecordable([entry["field"] for entry in field_errors(error)]) from None
    if again != parameters and (changed := _changed(parameters, again)):
        raise _unrecordable(changed)
    return values


def _changed(parameters: BaseModel, again: BaseModel) -> list[str]:
    """Name the fields whose values differ.

    A default that nobody has given need only look the same in JSON: models do not validate it, so that it may be a
    tuple where a list is meant, or text where a path is.
    """
    names = [name for name in type(parameters).model_fields if getattr(parameters, name) != getattr(again, name)]
    given = [name for name in names if name in parameters.model_fields_set]
    defaults = set(names) - set(given)
    shown = [model.model_dump(mode="json", include=defaults, warnings="none") for model in (parameters, again)]
    return given if shown[0] == shown[1] else names


def field_errors(error: ValidationError) -> list[dict[str, str]]:
    """List what is wrong, one entry a field, without the values (they may be secret)."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        {
            "field": ".".join(str(part) for part in detail["loc"]),
            "message": detail["msg"],
            "type": detail["type"],
        }
        for detail in details
    ]


def as_sentence(fields: list[dict[str, str]]) -> str:
    """Join the entries of `field_errors`."""
    return "; ".join(
        f"{entry['field']}: {entry['message']}" if entry["field"] else entry["message"] for entry in fields
    )


def _parse(workflow: type[Workflow], raw: Mapping[str, Any], *, by_name: bool) -> BaseModel:
    try:
        try:
            parameters = _read(workflow, raw, by_name=by_name)
        except ValidationError as error:
            if (spelled_out := refused_times(raw, error)) is None:
                raise
            raw, parameters = spelled_out, _read(workflow, spelled_out, by_name=by_name)
        spelled_out = mistaken_dates(raw, parameters.model_dump(by_alias=not by_name, warnings="none"))
        return parameters if spelled_out is None else _read(workflow, spelled_out, by_name=by_name)
    except ValidationError as error:
        raise _invalid(workflow, field_errors(error)) from None
    except (TypeError, ValueError) as error:
        entry = {"field": "", "message": f"the parameters are not a JSON object ({error})", "type": "json_type"}
        raise _invalid(workflow, [entry]) from error
    except (Exception, SystemExit) as error:
        # A validator of the workflow's own, which may do anything.
        reason = f"{type(error).__name__}: {error}"
        raise WorkflowError(f"the workflow {workflow.name!r} could not check its parameters: {reason}") from error


def _read(workflow: type[Workflow], raw: Mapping[str, Any], *, by_name: bool) -> BaseModel:
    # As JSON, because pydantic is stricter with Python values than with what they look like on the wire.
    text = encode_json(dict(raw), inf_nan_mode="constants")
    return workflow.Parameters.model_validate_json(text, by_alias=True, by_name=by_name or None)


def _invalid(workflow: type[Workflow], fields: list[dict[str, str]]) -> InvalidParametersError:
    sentence = f"{workflow.name!r} does not accept these parameters: {as_sentence(fields)}"
    if any(entry["type"] == "extra_forbidden" for entry in fields):
        names = [field.alias or name for name, field in workflow.Parameters.model_fields.items()]
        sentence += f"; it takes {', '.join(names) or 'none'}"
    return InvalidParametersError(sentence, fields)


def _unrecordable(names: list[str]) -> InvalidParametersError:
    message = "its value would not be the same after being recorded as JSON"
    fields = [{"field": name, "message": message, "type": "json_round_trip"} for name in names]
    return InvalidParametersError(f"these parameters cannot be recorded: {as_sentence(fields)}", fields)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True
