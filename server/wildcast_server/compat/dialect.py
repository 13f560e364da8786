"""Reading Earth2Studio's workflow files."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType

from wildcast_server.compat.adapter import adapt
from wildcast_server.compat.import_paths import import_paths
from wildcast_server.compat.registry import WorkflowRegistry
from wildcast_server.domain.workflow import Workflow
from wildcast_server.errors import WorkflowLoadError


class Earth2StudioDialect:
    """Understands files that register subclasses of Earth2Studio's ``Workflow`` or ``Earth2Workflow``.

    Files that know nothing of that are read as ever.
    """

    def importing(self, path: Path) -> AbstractContextManager[None]:  # noqa: ARG002 - the port's signature
        """Provide Earth2Studio's import paths, and a registry for this file alone."""
        return _importing()

    def workflows(self, module: ModuleType) -> Iterable[type[Workflow] | WorkflowLoadError]:  # noqa: ARG002 - as above
        """Return what the file has registered, as our classes."""
        return [_adapted(workflow) for workflow in WorkflowRegistry.instance().classes()]


@contextmanager
def _importing() -> Iterator[None]:
    with import_paths():
        yield


def _adapted(workflow: type) -> type[Workflow] | WorkflowLoadError:
    try:
        return adapt(workflow)
    except TypeError as error:
        return WorkflowLoadError(f"{workflow.__qualname__} is not usable as a workflow: {error}")
