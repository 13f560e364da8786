"""The API of wildcast's server or of the Earth2Studio server, as the SDK asks it."""

from http import HTTPStatus

import httpx

from api_client.models import InferenceRequestResults, StorageType
from wildcast._api import Api
from wildcast._asking import sent
from wildcast._flows import Request
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import OutputFile, ResultMetadata

NOT_AN_ANSWER = (ValueError, KeyError, TypeError, AttributeError)
"""What a model's ``from_dict`` raises for a body that is not the API's."""


class SdkApi(Api):
    """An `Api` that sends the SDK's requests as they are."""

    repeated = Api.repeated | {HTTPStatus.INTERNAL_SERVER_ERROR}

    def send(
        self, method: str, path: str, *, content: bytes | None = None, timeout: float | None = None
    ) -> httpx.Response:
        """Send a request, a GET again where that may help; `timeout` is in seconds of silence.

        Raises
        ------
        ApiError
            If there is no answer.
        """
        request = Request(method, path, content=content, timeout=timeout)
        return self.run(sent(self, request, is_repeatable=method == "GET"))


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
