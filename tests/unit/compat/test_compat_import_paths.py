"""The import paths of Earth2Studio's server are there while a file is loaded, and only then."""

import importlib
import sys
import threading
from textwrap import dedent

import pytest

from wildcast_server.compat.import_paths import EXPORTED, import_paths
from wildcast_server.compat.registry import WorkflowRegistry
from wildcast_server.compat.workflow import Workflow

REAL = {
    "earth2studio/__init__.py": "WHO = 'real'",
    "earth2studio/data.py": "import earth2studio.serve",
    "earth2studio/serve/__init__.py": "",
    "earth2studio/serve/client.py": "WHO = 'real'",
    "earth2studio/serve/server/__init__.py": "WHO = 'the real server'",
    "earth2studio/serve/server/workflow.py": "raise RuntimeError('it would connect to Redis')",
}


@pytest.fixture
def real_package(tmp_path, monkeypatch):
    """Install a package of the real one's shape, whose server must not be touched."""
    for name, source in REAL.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "earth2studio"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "statement",
    [
        "from earth2studio.serve.server import Workflow as found",
        "from earth2studio.serve.server.workflow import Workflow as found",
        "from earth2studio.serve.server.e2workflow import Workflow as found",
        "from api_server.workflow import Workflow as found",
        "from api_server.workflow.workflow import Workflow as found",
        "from api_server.workflow.e2workflow import Workflow as found",
        "from earth2studio.serve import server; found = server.Workflow",
        "from earth2studio.serve.server import workflow; found = workflow.Workflow",
        "import earth2studio.serve.server; found = earth2studio.serve.server.Workflow",
        "import earth2studio.serve.server.workflow as w; found = w.Workflow",
        "import api_server.workflow as w; found = w.Workflow",
        "import importlib; found = importlib.import_module('earth2studio.serve.server.workflow').Workflow",
    ],
)
def test_every_spelling_gives_the_same_class(statement):
    """However a file imports a class, it is one and the same."""
    names: dict = {}
    with import_paths():
        exec(statement, names)  # noqa: S102 - a statement of this file
    assert names["found"] is Workflow


@pytest.mark.parametrize("name", [*(value.__name__ for value in EXPORTED), "workflow_registry"])
@pytest.mark.parametrize("module", ["earth2studio.serve.server", "api_server.workflow"])
def test_every_public_name_is_there(module, name):
    """What workflow files import has its name in both packages."""
    with import_paths():
        assert hasattr(importlib.import_module(module), name)


def test_everything_is_as_before(imported):
    """Afterwards neither a module nor a finder is left, and the paths are gone."""
    before = imported()
    with import_paths():
        importlib.import_module("earth2studio.serve.server.workflow")
    assert imported() == before
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("earth2studio.serve.server")


def test_everything_is_as_before_after_a_failure(load, imported):
    """A file that raises after its imports leaves nothing behind."""
    before = imported()
    assert load("import earth2studio.serve.server, api_server.workflow\nraise OSError('no')").failures
    assert imported() == before


def test_what_is_not_installed_is_said_to_be_missing(failure_of):
    """Without Earth2Studio a file that needs more of it than its server names fails with the reason and the line."""
    message = failure_of("from earth2studio.serve.server import Workflow\nfrom earth2studio.data import GFS")
    assert message.endswith(
        "ModuleNotFoundError: No module named 'earth2studio.data': the package 'earth2studio' is not installed; "
        "install it with: pip install 'wildcast[earth2]' (line 2)"
    )


@pytest.mark.parametrize("module", ["earth2studio", "loguru", "torch"])
def test_what_the_extra_brings_is_said_with_it(module):
    """Also where a constructor or a run imports it, and once although the paths nest."""
    with pytest.raises(ModuleNotFoundError) as caught, import_paths(), import_paths():
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    assert str(caught.value) == f"No module named {module!r}; install it with: pip install 'wildcast[earth2]'"


def test_any_other_module_is_not_said_to_come_with_the_extra(failure_of):
    """Nobody installs PyTorch for a misspelling."""
    assert "wildcast[earth2]" not in failure_of("import not_installed_anywhere")


@pytest.mark.parametrize("statement", ["from earth2studio import run", "import earth2studio.run"])
def test_a_missing_module_is_named_however_it_is_imported(failure_of, statement):
    """Import statements of both kinds say what is not installed."""
    message = failure_of(f"import earth2studio.serve.server\n{statement}")
    assert "No module named 'earth2studio.run': the package 'earth2studio' is not installed" in message


def test_a_file_can_do_without_what_is_not_installed(load):
    """A file that guards its imports with ImportError takes the other branch."""
    found = load(
        """
        from earth2studio.serve.server import workflow_registry
        try:
            from earth2studio import run
        except ImportError:
            found = False
        assert not found
        """
    )
    assert found.failures == ()


def test_parts_of_the_real_server_are_not_there(failure_of):
    """What we do not provide of the server is missing, and not taken from the real one."""
    message = failure_of("from earth2studio.serve.server.config import get_config")
    assert "No module named 'earth2studio.serve.server.config': wildcast has no such part" in message


@pytest.mark.usefixtures("real_package")
def test_the_real_package_is_used_for_all_else(load):
    """Where Earth2Studio is installed, its server alone is ours."""
    found = load(
        """
        import earth2studio.data, earth2studio.serve.client
        from earth2studio.serve.server.workflow import Workflow
        assert (earth2studio.WHO, earth2studio.serve.client.WHO) == ("real", "real")
        assert Workflow.__module__.startswith("wildcast_server.")
        """
    )
    assert found.failures == ()


@pytest.mark.usefixtures("real_package")
def test_the_real_server_is_itself_again_afterwards(load):
    """A real server that was imported before is hidden meanwhile, and then where it was, as module and attribute."""
    import earth2studio.serve.server

    real = sys.modules["earth2studio.serve.server"]
    found = load("from earth2studio.serve import server\nassert not hasattr(server, 'WHO')")
    assert found.failures == ()
    assert sys.modules["earth2studio.serve.server"] is earth2studio.serve.server is real
    assert real.WHO == "the real server"


@pytest.mark.usefixtures("real_package")
def test_a_real_package_keeps_no_attribute_of_ours(load):
    """A real parent that was first imported by the file stays, without a trace of us."""
    assert load("import earth2studio.serve.server.workflow").failures == ()
    assert not hasattr(sys.modules["earth2studio.serve"], "server")
    assert importlib.import_module("earth2studio.serve.server").WHO == "the real server"


@pytest.mark.parametrize("module", ["earth2studio.serve.server.workflow", "api_server.workflow"])
def test_paths_nest(imported, module):
    """A load within a load has a registry of its own, and the outer one goes on with what it imported."""
    before = imported()
    with import_paths() as outer:
        mine = importlib.import_module(module)
        during = imported()
        with import_paths() as inner:
            assert WorkflowRegistry.instance() is inner
            assert importlib.import_module(module).workflow_registry is inner
        assert imported() == during
        assert WorkflowRegistry.instance() is mine.workflow_registry is outer
    assert imported() == before


def test_one_thread_at_a_time(imported):
    """Loads in several threads wait for one another, and each sees its own registry alone."""
    before = imported()
    wrong: list[object] = []
    start = threading.Barrier(4)

    def load_many() -> None:
        start.wait()
        for _ in range(50):
            with import_paths() as registry:
                module = importlib.import_module("earth2studio.serve.server")
                if module.workflow_registry is not registry:
                    wrong.append(module)

    threads = [threading.Thread(target=load_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert imported() == before


def test_files_that_know_nothing_of_it_load_as_ever(load, write_file):
    """Our own workflows are found beside Earth2Studio's."""
    write_file(
        dedent(
            """
            from wildcast_server import workflow

            @workflow
            def ours() -> None: ...
            """
        ),
        "ours.py",
    )
    found = load(
        """
        from earth2studio.serve.server import Workflow, workflow_registry

        @workflow_registry.register
        class Theirs(Workflow):
            name = "theirs"

            def run(self, parameters, execution_id): ...
        """
    )
    assert found.registry.names() == ["ours", "theirs"]
