"""What a filesystem that is only read refuses."""

from typing import Any, NoReturn

from fsspec.asyn import AsyncFileSystem

from wildcast._errors import ReadOnlyError


class ReadOnlyFileSystem(AsyncFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Refuses whatever writes, removes or makes something: of fsspec's own, some only seem to have done it."""

    async def _pipe_file(self, *_: Any, **__: Any) -> NoReturn:
        refuse_writing()

    async def _put_file(self, *_: Any, **__: Any) -> NoReturn:
        refuse_writing()

    async def _cp_file(self, *_: Any, **__: Any) -> NoReturn:
        refuse_writing()

    async def _rm(self, *_: Any, **__: Any) -> NoReturn:
        refuse_writing()

    async def _rm_file(self, *_: Any, **__: Any) -> NoReturn:
        refuse_writing()

    async def _mkdir(self, *_: Any, **__: Any) -> NoReturn:
        refuse_writing()

    async def _makedirs(self, *_: Any, **__: Any) -> NoReturn:
        refuse_writing()

    def rmdir(self, path: str) -> NoReturn:
        """Refuse."""
        del path
        refuse_writing()


def refuse_writing() -> NoReturn:
    """Say that nothing is written."""
    raise ReadOnlyError("Results are read, never written; copy them elsewhere to change them.")
