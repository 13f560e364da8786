"""The API of wildcast's server or of the Earth2Studio server, whose answers leave members out."""

from http import HTTPStatus
from urllib.parse import quote

import httpx

from api_client._failures import error_of, unexpected
from api_client.models import InferenceRequestResults, StorageType
from wildcast import ApiError, ResultsPendingError, UnexpectedAnswerError
from wildcast._api import Api
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import OutputFile, ResultMetadata

NOT_AN_ANSWER = (ValueError, KeyError, TypeError, AttributeError)
"""What a model's ``from_dict`` raises for a body that is not the API's."""


class SdkApi(Api):
    """An `Api` that sends the SDK's requests, and whose results may come from either server."""

    repeated = Api.repeated | {HTTPStatus.INTERNAL_SERVER_ERROR}

    def send(
        self, method: str, path: str, *, content: bytes | None = None, timeout: float | None = None
    ) -> httpx.Response:
        """Send a request, a GET again where that may help; `timeout` is in seconds of silence.

        Raises
        ------
        ServerUnavailableError
            If there is no answer.
        """
        return self._send(method, path, content=content, timeout=timeout)

    def results(
        self, workflow: str, execution_id: str, *, listed: bool = True, partial_too: bool = False
    ) -> ResultMetadata:
        """Return what an execution has published, with a URL signed now; not `listed`, its files may be left out.

        Raises
        ------
        ResultsPendingError
            If it has not ended; `partial_too`, if nothing of it is there.
        ApiError
            If there are no results, or no answer.
        """
        path = f"{execution_path(workflow, execution_id)}/results"
        params = {**({} if listed else {"files": "none"}), **({"partial": "true"} if partial_too else {})}
        response = self._send("GET", path, params=params)
        if response.status_code == HTTPStatus.ACCEPTED:
            raise ResultsPendingError(f"{execution_id} has not ended: wait for it.", execution_id)
        if not response.is_success:
            error = error_of(response)
            raise ApiError(error.message, error.status_code, error.details)
        try:
            return metadata_of(InferenceRequestResults.from_dict(response.json()), workflow)
        except NOT_AN_ANSWER as error:
            raise UnexpectedAnswerError(unexpected(response, error).message, response.status_code) from error


def execution_path(workflow: str, execution_id: str) -> str:
    """Return the path below which the API answers for an execution."""
    return f"{workflow_path(workflow)}/{quote(execution_id, safe='')}"


def workflow_path(workflow: str) -> str:
    """Return the path below which the API answers for a workflow."""
    return f"/v1/infer/{quote(workflow, safe='')}"


def metadata_of(result: InferenceRequestResults, workflow: str) -> ResultMetadata:
    """Return the SDK's results as `wildcast` reads them."""
    return ResultMetadata(
        request_id=result.request_id,
        status=ExecutionStatus(result.status.value),
        completion_time=result.completion_time,
        execution_time_seconds=result.execution_time_seconds,
        workflow_name=workflow,
        created_at=None,
        parameters={},
        storage_type=StorageType(result.storage_type).value,
        remote_path=None,
        signed_url=result.signed_url,
        output_files=tuple(OutputFile(file.path, file.size) for file in result.output_files),
    )
