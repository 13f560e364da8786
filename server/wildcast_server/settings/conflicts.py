"""What is wrong with settings taken together, though each alone is fine."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wildcast_server.settings.object_storage import ObjectStorageSettings


@dataclass(frozen=True)
class Conflict:
    """One sentence, and the settings of the section that it is about."""

    sentence: str
    names: tuple[str, ...]


class ConflictError(ValueError):
    """Settings that contradict each other.

    Parameters
    ----------
    conflicts
        Every one that was found.
    """

    def __init__(self, conflicts: list[Conflict]) -> None:
        super().__init__("; ".join(conflict.sentence for conflict in conflicts))
        self.conflicts = tuple(conflicts)


def object_storage_conflicts(section: "ObjectStorageSettings") -> list[Conflict]:
    """Find everything in the object storage section that does not go together."""
    return [
        *_store(section),
        *_credentials(section),
        *_cloudfront(section),
        *_encryption(section),
        *_acceleration(section),
    ]


def _store(section: "ObjectStorageSettings") -> Iterator[Conflict]:
    if section.bucket is not None and section.s3_bucket != section.bucket:
        yield Conflict("store and bucket name different places: give one of them", ("store", "bucket"))


def _credentials(section: "ObjectStorageSettings") -> Iterator[Conflict]:
    pair = {"access_key_id": section.access_key_id, "secret_access_key": section.secret_access_key}
    given = tuple(name for name, value in pair.items() if value is not None)
    missing = tuple(name for name, value in pair.items() if value is None)
    if given and missing:
        yield Conflict(f"{given[0]} is set without {missing[0]}: set both or neither", given)
    if section.session_token is not None and missing:
        yield Conflict(
            "session_token is set without access_key_id and secret_access_key, to which it belongs",
            ("session_token",),
        )


def _cloudfront(section: "ObjectStorageSettings") -> Iterator[Conflict]:
    if section.cloudfront_private_key is not None and section.cloudfront_private_key_path is not None:
        yield Conflict(
            "cloudfront_private_key and cloudfront_private_key_path are both set: give one",
            ("cloudfront_private_key", "cloudfront_private_key_path"),
        )
    parts = {
        "cloudfront_domain": section.cloudfront_domain,
        "cloudfront_key_pair_id": section.cloudfront_key_pair_id,
        "cloudfront_private_key_path": section.signing_key,
    }
    given = tuple(name for name, value in parts.items() if value is not None)
    missing = [name for name, value in parts.items() if value is None]
    if given and missing:
        yield Conflict(
            f"CloudFront is half configured: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing",
            given,
        )


def _encryption(section: "ObjectStorageSettings") -> Iterator[Conflict]:
    if section.sse_kms_key_id is not None and not (section.sse or "").startswith("aws:kms"):
        yield Conflict("sse_kms_key_id needs sse to be aws:kms or aws:kms:dsse", ("sse_kms_key_id",))


def _acceleration(section: "ObjectStorageSettings") -> Iterator[Conflict]:
    explicit = "use_transfer_acceleration" in section.model_fields_set and section.use_transfer_acceleration
    if explicit and section.endpoint_url is None and "." in (section.s3_bucket or ""):
        yield Conflict(
            "transfer acceleration does not work with a bucket that has a dot in its name: "
            "set use_transfer_acceleration to false, or name another bucket",
            ("use_transfer_acceleration",),
        )
