"""Signing URLs and cookies on request."""

import ipaddress
import re
from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import Response

from wildcast.contract.wire import SignedAnswer
from wildcast_server.api.answers import FRESH, answer
from wildcast_server.api.documented import errors_of, json_of
from wildcast_server.api.routes import INFER, writing
from wildcast_server.api.threads import Threads
from wildcast_server.signing.base import SignedLink
from wildcast_server.usecases.sign import MAX_SECONDS, Grant, Kind, Sign

DESCRIPTION = f"""
Signs a URL, or cookies, for a result in object storage: for all of it, for a directory, or for one file. A URL for a
directory ends with `/*`: put a file's path in the place of the `*`. Cookies open what lies below `path` on `domain`.

`expires_in` is in seconds, {MAX_SECONDS} at most; without one the signature lasts as long as that of the result's
metadata. Nothing takes it back before. `ip` is an IPv4 address or network that alone may use it.
"""

ANSWERS = json_of(200, SignedAnswer, "The signature.") | errors_of(
    400,
    404,
    409,
    413,
    422,
    502,
    503,
    sentences={
        404: "the result of exec_1769560728_10ed9d3c has no file and no directory 'b.zarr'",
        409: "the result of exec_1769560728_10ed9d3c is served by this server itself, which asks for no signature: "
        "read its files below …/results",
        422: "the request's body is not what sign takes: expires_in: Input should be greater than or equal to 1",
    },
)

_NETWORK = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?", re.ASCII)


def _network(text: str) -> str:
    if not _NETWORK.fullmatch(text):
        raise ValueError("it must be one IPv4 address or network, such as 192.0.2.0/24")
    ipaddress.IPv4Network(text, strict=False)
    return text


class SignBody(BaseModel):
    """What is to be signed."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"path": "shallow_water.zarr", "expires_in": 3600}]}
    )

    path: str | None = Field(
        default=None,
        description="A file or directory of the result, as `output_files` begins; without one, all of it.",
    )
    expires_in: int | None = Field(default=None, ge=1, le=MAX_SECONDS, strict=True, description="In seconds.")
    ip: Annotated[str, AfterValidator(_network)] | None = Field(
        default=None, description="An IPv4 address or network that alone may use it.", examples=["192.0.2.0/24"]
    )
    kind: Kind = "url"


def signing_routes(sign: Sign, threads: Threads) -> APIRouter:
    """Build the route that signs; what it looks up waits in `threads`."""
    router = APIRouter(prefix=INFER, tags=["results"])

    @writing(
        router,
        "/{workflow_name}/{execution_id}/sign",
        summary="A signed URL, or cookies, for a result or a part of it",
        description=DESCRIPTION,
        responses=ANSWERS,
    )
    async def signed(workflow_name: str, execution_id: str, body: SignBody) -> Response:
        grant = Grant(path=body.path, expires_in=body.expires_in, ip=body.ip, kind=body.kind)
        found = await threads.run(sign, workflow_name, execution_id, grant)
        if isinstance(found, SignedLink):
            return answer(SignedAnswer(url=found.url, expires_at=found.expires_at), headers=FRESH)
        return answer(
            SignedAnswer(cookies=found.cookies, domain=found.domain, path=found.path, expires_at=found.expires_at),
            headers=FRESH,
        )

    return router
