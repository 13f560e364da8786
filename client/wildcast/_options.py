"""What a filesystem is told to read: a signed URL, or an execution by its name."""

from wildcast._api import Api
from wildcast._execution_source import ExecutionSource
from wildcast._fixed_source import FixedSource
from wildcast._sources import UrlSource


def source_of_options(
    source: str | UrlSource | None,
    signed_url: str | None,
    *,
    server: str | None,
    workflow: str | None,
    execution: str | None,
    partial: bool,
) -> UrlSource:
    """Return where the files are read that the options of `SignedFileSystem` name.

    Raises
    ------
    TypeError
        If they name nothing, or more than one.
    InvalidUrlError
        If a URL is no wildcard signed one.
    """
    named = {"server": server, "workflow": workflow, "execution": execution, "partial": partial}
    _check_one(source, signed_url, [name for name, value in named.items() if value])
    given = source or signed_url
    if isinstance(given, UrlSource):
        return given
    if given:
        return FixedSource(given)
    if not workflow or not execution:
        raise TypeError(
            "Say what to read: storage_options={'server': …, 'workflow': …, 'execution': …}, which "
            "`Result.storage_options` gives, or {'signed_url': …}."
        )
    # The options may be somebody else's: whom they name is no reason to send a token there.
    return ExecutionSource(Api(server, is_trusted=False), workflow, execution, partial=partial)


def _check_one(source: str | UrlSource | None, signed_url: str | None, named: list[str]) -> None:
    if source and signed_url:
        raise TypeError("A signed URL is given twice, as `source` and as `signed_url`; give one of them.")
    if (source or signed_url) and named:
        raise TypeError(
            f"A signed URL says what to read, partial or not; leave out {', '.join(map(repr, named))}, or the URL."
        )
