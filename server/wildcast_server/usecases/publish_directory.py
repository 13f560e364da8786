"""Publishing a directory that no execution wrote."""

from pathlib import Path

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import ResultMetadata, files_of
from wildcast_server.publish import Publisher
from wildcast_server.signing.base import Signer


def publish_directory(
    publisher: Publisher, signer: Signer | None, directory: Path, name: str, *, owner: str
) -> ResultMetadata:
    """Publish `directory` as `name`, and describe it as an execution's result is described.

    Parameters
    ----------
    signer
        Signs the publication's URL; None where nothing would serve it.
    owner
        Who publishes, as `Publisher.publish` has it.

    Raises
    ------
    PublicationError, StoreError
        As `Publisher.publish`.
    """
    published = publisher.publish(directory, name, owner=owner)
    link = signer.sign_prefix(published.publication.prefix) if signer else None
    return ResultMetadata(
        request_id=name,
        status=ExecutionStatus.COMPLETED,
        completion_time=published.manifest.created_at,
        execution_time_seconds=None,
        workflow_name=None,
        created_at=published.manifest.created_at,
        parameters={},
        storage_type=published.storage_type,
        remote_path=published.publication.prefix,
        signed_url=link.url if link else None,
        output_files=files_of(published.manifest, name),
        expires_at=link.expires_at if link else None,
        publication=published.publication,
        datasets=published.datasets,
        upload=published.upload,
    )
