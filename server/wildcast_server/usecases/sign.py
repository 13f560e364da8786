"""Signing a URL or cookies on request: for the whole result, or for a part of it."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

from wildcast.contract.naming import MANIFEST_PATH, RESERVED, check_key, join_key
from wildcast_server.domain.execution import Execution, PublicationRecord
from wildcast_server.errors import NotFoundError, StatusConflictError
from wildcast_server.signing.base import SignedCookies, SignedLink, Signer
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.results import Contents, Results, published, storage_is_off

Kind = Literal["url", "cookies"]

MAX_SECONDS = 604_800
"""A week: who holds a signature needs no other permission, and nothing takes it back before its end."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What is asked for.

    Parameters
    ----------
    path
        A file of the result, a directory of it, or None for all of it; it begins with the execution's id or not, and
        a directory may end with ``/*``.
    expires_in
        In seconds; None for the signer's own default.
    ip
        An IPv4 address or network that alone may use it.
    kind
        Cookies open a directory, never a single file.
    """

    path: str | None = None
    expires_in: int | None = None
    ip: str | None = None
    kind: Kind = "url"


@dataclass(frozen=True)
class Sign:
    """Sign for what a completed execution has published, and for nothing else.

    Parameters
    ----------
    signer
        None where object storage is off.
    """

    lookup: Lookup
    results: Results
    signer: Signer | None

    def __call__(self, workflow_name: str, execution_id: str, grant: Grant) -> SignedLink | SignedCookies:
        """Sign what `grant` asks for.

        Raises
        ------
        UnknownExecutionError
            If the workflow has no such execution.
        StatusConflictError
            If it has not ended yet, or this server itself sends its files, which needs no signature.
        NoResultsError
            If it ended without results, or they have expired.
        InvalidPathError
            If the path is none inside a publication.
        NotFoundError
            If the result has no such file or directory.
        ServiceUnavailableError
            If it lies in object storage, which is off now.
        """
        execution = self.lookup.execution(workflow_name, execution_id)
        record = _signable(execution)
        if self.signer is None:
            raise storage_is_off()
        path, is_directory = self._part(workflow_name, execution, grant.path)
        key = join_key(record.publication.prefix, path)
        if grant.kind == "cookies":
            if not is_directory:
                raise StatusConflictError(f"cookies open a directory, and {path!r} is a file: ask for a url")
            return self.signer.sign_cookies(key, expires_in=grant.expires_in, ip=grant.ip)
        sign = self.signer.sign_prefix if is_directory else self.signer.sign_url
        return sign(key, expires_in=grant.expires_in, ip=grant.ip)

    def _part(self, workflow_name: str, execution: Execution, path: str | None) -> tuple[str, bool]:
        """Return the path relative to the publication, and whether it is a directory of it."""
        if path is None or path in ("*", execution.id, f"{execution.id}/*"):
            return "", True
        relative = check_key(path.removeprefix(f"{execution.id}/"))
        contents = self.results.contents(workflow_name, execution.id)
        if relative == MANIFEST_PATH or relative in contents.paths:
            return relative, False
        # Only now: a file may be called `*`.
        directory = relative.removesuffix("/*")
        if directory == RESERVED or _has_directory(contents, directory):
            return directory, True
        raise NotFoundError(f"the result of {execution.id} has no file and no directory {relative!r}", relative)


def _has_directory(contents: Contents, directory: str) -> bool:
    # The rows are in the order of their paths.
    rows, below = contents.manifest.rows, f"{directory}/"
    place = bisect_left(rows, below, key=lambda row: row.path)
    return place < len(rows) and rows[place].path.startswith(below)


def _signable(execution: Execution) -> PublicationRecord:
    if not execution.status.is_final:
        raise StatusConflictError(f"{execution.id} is {execution.status}: there is nothing to sign for yet")
    record = published(execution)
    if record.storage_type == "server":
        raise StatusConflictError(
            f"the result of {execution.id} is served by this server itself, which asks for no signature: "
            "read its files below …/results"
        )
    return record
