"""The OpenAPI document and the page that shows it."""

import re
from collections.abc import Callable
from http import HTTPStatus

import msgspec
import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel

from wildcast.contract import wire
from wildcast_server import Workflow
from wildcast_server.api import documented, examples
from wildcast_server.api.actions import PinBody
from wildcast_server.api.executions import SubmitBody
from wildcast_server.api.signing import SignBody

COMMON = {"summary", "description", "tags", "responses"}


@pytest.fixture
def document(api):
    """What `/openapi.json` says."""
    return api.get("/openapi.json").json()


def operations(document):
    return [(path, name, each) for path, item in document["paths"].items() for name, each in item.items()]


def bodies(document):
    """Each documented body of an answer: where, status, media type, what is said of it."""
    return [
        (f"{name} {path}", status, media_type, content)
        for path, name, operation in operations(document)
        for status, response in operation["responses"].items()
        for media_type, content in response.get("content", {}).items()
    ]


def test_it_is_a_valid_document(document):
    """As OpenAPI 3.1 defines it."""
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_every_route_is_in_it_once(document):
    """Those of the wire contract, and no HEAD beside its GET; the page itself is not."""
    below = "/v1/infer/{workflow_name}"
    assert sorted((name, path) for path, name, _ in operations(document)) == sorted(
        [
            ("get", "/health"),
            ("get", "/readiness"),
            ("get", "/liveness"),
            ("get", "/metrics"),
            ("get", "/v1/infer/workflows"),
            ("get", "/v1/infer/workflows/{workflow_name}/schema"),
            ("post", "/v1/infer"),
            ("get", "/v1/infer"),
            ("post", below),
            ("get", below),
            ("delete", f"{below}/{{execution_id}}"),
            ("post", f"{below}/{{execution_id}}/cancel"),
            ("post", f"{below}/{{execution_id}}/retry"),
            ("post", f"{below}/{{execution_id}}/pin"),
            ("post", f"{below}/{{execution_id}}/sign"),
            ("get", f"{below}/{{execution_id}}/status"),
            ("get", f"{below}/{{execution_id}}/events"),
            ("get", f"{below}/{{execution_id}}/deliveries"),
            ("get", f"{below}/{{execution_id}}/manifest"),
            ("get", f"{below}/{{execution_id}}/results"),
            ("get", f"{below}/{{execution_id}}/results/{{path}}"),
            ("get", f"{below}/{{execution_id}}/results/{{archive_name}}"),
            ("get", f"{below}/{{execution_id}}/archive"),
        ]
    )


def test_every_route_is_described(document):
    """With a summary, some sentences, its path's parameters, and its answers."""
    for path, name, operation in operations(document):
        assert operation.keys() >= COMMON, f"{name} {path}"
        named = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path))


def test_every_answer_has_an_example(document):
    """Bytes apart, and those without a body."""
    for where, status, media_type, content in bodies(document):
        binary = content["schema"].get("format") == "binary"
        assert binary or content.get("example") is not None, f"{where} {status} {media_type}"


@pytest.mark.parametrize("body", [SubmitBody, PinBody, SignBody])
def test_every_request_body_has_an_example(document, body):
    """One that the route would take."""
    named = document["components"]["schemas"][body.__name__]
    for example in named["examples"]:
        assert body.model_validate(example).model_dump(exclude_unset=True) == example


def test_every_request_body_is_a_named_schema(document):
    """So that its examples are shown."""
    named = set()
    for _, _, operation in operations(document):
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            named |= set(re.findall(r"schemas/(\w+)", str(schema)))
    assert named == {"SubmitBody", "PinBody", "SignBody"}


@pytest.mark.parametrize("kind", documented.EXAMPLES)
def test_the_examples_are_what_their_schemas_say(kind):
    """Nothing in them that the contract lacks, and the other way round."""
    example = documented.EXAMPLES[kind]
    decoded = msgspec.convert(example, kind, strict=False)
    assert msgspec.to_builtins(decoded, str_keys=True).keys() == example.keys()
    assert {field.encode_name for field in msgspec.structs.fields(kind)} == example.keys()


def test_the_example_of_a_status_has_all_that_a_status_has(api):
    """What is recorded of every execution is in its `metadata`, by the names that the example shows."""
    name = api.post("/v1/infer/results", json={}).json()["execution_id"]
    assert api.get(f"/v1/infer/results/{name}/status").json()["metadata"].keys() == examples.STATUS["metadata"].keys()


def test_errors_are_documented_with_their_body(document):
    """Each with its own sentence, and the members that every error has; what is not listed is the default."""
    for path, name, operation in operations(document):
        assert "default" in operation["responses"], f"{name} {path}"
    for where, status, _, content in bodies(document):
        if status == "default" or (status.startswith(("4", "5")) and not where.endswith(("health", "readiness"))):
            assert content["schema"] == documented.reference(wire.ErrorBody)
            example = msgspec.convert(content["example"], wire.ErrorBody)
            assert example.error == example.detail


@pytest.mark.parametrize(
    ("operation", "statuses"),
    [
        ("post /v1/infer", {200, 409, 413, 422, 429, 503}),
        ("get /v1/infer", {200, 422, 503}),
        ("get /v1/infer/{workflow_name}", {200, 404, 422, 503}),
        ("post /v1/infer/{workflow_name}", {200, 404, 409, 413, 422, 429, 503}),
        ("get /v1/infer/{workflow_name}/{execution_id}/status", {200, 304, 404, 422, 503}),
        ("post /v1/infer/{workflow_name}/{execution_id}/cancel", {200, 404, 409, 503}),
        ("post /v1/infer/{workflow_name}/{execution_id}/retry", {200, 404, 409, 429, 503}),
        ("post /v1/infer/{workflow_name}/{execution_id}/pin", {200, 404, 409, 413, 422, 503}),
        ("delete /v1/infer/{workflow_name}/{execution_id}", {204, 404, 409, 503}),
        ("post /v1/infer/{workflow_name}/{execution_id}/sign", {200, 400, 404, 409, 413, 422, 502, 503}),
        ("get /v1/infer/{workflow_name}/{execution_id}/deliveries", {200, 404, 503}),
        ("get /v1/infer/{workflow_name}/{execution_id}/manifest", {200, 202, 304, 400, 404, 412, 502, 503}),
        ("get /v1/infer/{workflow_name}/{execution_id}/results", {200, 202, 400, 404, 422, 502, 503}),
        (
            "get /v1/infer/{workflow_name}/{execution_id}/results/{path}",
            {200, 202, 206, 304, 307, 400, 404, 412, 416, 502, 503},
        ),
        ("get /v1/infer/workflows/{workflow_name}/schema", {200, 404}),
        ("get /readiness", {200, 503}),
    ],
)
def test_the_statuses_are_those_of_the_wire_contract(document, operation, statuses):
    """A client's author finds them all."""
    name, path = operation.split()
    listed = document["paths"][path][name]["responses"].keys() - {"default"}
    assert {int(status) for status in listed} == statuses
    assert all(HTTPStatus(status) for status in statuses)


def test_statuses_that_say_when_to_come_again_say_so(document):
    """202, 429 and 503 have their header."""
    for path, name, operation in operations(document):
        for status in operation["responses"].keys() & {"202", "429", "503"}:
            assert "Retry-After" in operation["responses"][status]["headers"], f"{name} {path} {status}"


def test_the_page_needs_nothing_from_elsewhere(api):
    """Script, style and icon are served here, and neither the page nor its settings name another host."""
    page = api.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    links = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert len(links) == 3
    assert not re.search(r"https?:", page.text)
    for link in links:
        part = api.get(f"/{link}")
        assert part.status_code == 200
        assert len(part.content) > 1000
    assert "openapi.json" in page.text
    assert '"validatorUrl": null' in page.text


def test_the_page_has_no_other_parts(api):
    """What is not listed is not found, wherever a path might lead."""
    for name in ("core.py", "..%2Fcore.py", "%2e%2e/core.py", "redoc.standalone.js"):
        assert api.get(f"/docs/{name}").status_code == 404


@pytest.mark.parametrize("path", ["/openapi.json", "/docs/swagger-ui-bundle.js"])
def test_what_is_large_is_compressed(api, path):
    """With zstd or gzip; a HEAD says the same as the GET."""
    for coding in ("zstd", "gzip"):
        answer = api.get(path, headers={"Accept-Encoding": coding})
        assert answer.headers["content-encoding"] == coding
        assert answer.content == api.get(path, headers={"Accept-Encoding": "identity"}).content
        head = api.head(path, headers={"Accept-Encoding": coding})
        assert head.headers["content-length"] == answer.headers["content-length"]


def test_the_examples_are_of_one_story():
    """Whoever reads from top to bottom meets one execution."""
    texts = map(str, (examples.SUBMITTED, examples.STATUS, examples.METADATA, examples.PENDING))
    assert all(examples.EXECUTION in text for text in texts)


def test_a_parameter_that_json_has_no_form_for_spoils_no_schema(use_cases, serve):
    """The others are described; that one may be anything."""

    class Model(BaseModel):
        """Takes what no request can send."""

        level: int = 0
        reduce: Callable[[int], int] | None = None

    class Reducing(Workflow):
        """Computes nothing."""

        name = "reducing"
        Parameters = Model

        def run(self, parameters, context): ...

    use_cases.workflows.add(Reducing)
    properties = serve(use_cases).get("/v1/infer/workflows/reducing/schema").json()["properties"]
    assert properties["level"]["type"] == "integer"
    assert {} in properties["reduce"]["anyOf"]
