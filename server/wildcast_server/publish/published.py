"""What publishing returns."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from wildcast.contract.manifest import Dataset, Manifest
from wildcast.contract.wire import Publication, StorageType, Upload
from wildcast_server.publish.manifests import manifest_key

Clock = Callable[[], datetime]
"""Tells the time, in UTC."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A verified and committed publication."""

    storage_type: StorageType
    publication: Publication
    datasets: tuple[Dataset, ...]
    manifest: Manifest
    upload: Upload | None
    """None if nothing had to be moved."""

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        prefix: str,
        *,
        storage_type: StorageType = "s3",
        upload: Upload | None = None,
    ) -> "Published":
        """Describe the publication that `manifest` lists."""
        publication = Publication(
            prefix=prefix,
            attempt=manifest.attempt,
            files=manifest.files,
            bytes=manifest.bytes,
            manifest=manifest_key(prefix),
            verified=manifest.verified,
        )
        return cls(
            storage_type=storage_type,
            publication=publication,
            datasets=manifest.datasets,
            manifest=manifest,
            upload=upload,
        )
