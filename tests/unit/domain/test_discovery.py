"""Discovery of workflows in directories."""

import hashlib
import logging
import os
import re
import sys
from contextlib import contextmanager

import pytest

from wildcast_server import Workflow
from wildcast_server.domain.discovery import discover, discover_file, sha256_of, workflow_files
from wildcast_server.errors import SettingsError, WorkflowLoadError

GOOD = """
from wildcast_server import Workflow, workflow

class Base(Workflow):
    "Abstract: it has no run."

class {name}(Base):
    "One."
    name = "{name}"
    def run(self, parameters, context): ...

Alias = {name}

@workflow
def f_{name}(n: int = 1) -> None: ...
"""


def write(directory, **files: str):
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text)
    return directory


def test_classes_and_functions_are_found(tmp_path):
    """Every concrete class and marked function that a file defines is found once, with its file."""
    found = discover([write(tmp_path, one=GOOD.format(name="a"))])
    assert found.failures == ()
    assert found.registry.names() == ["a", "f_a"]
    assert found.registry.source("a") == tmp_path / "one.py"


def test_what_a_file_imports_is_not_its_own(tmp_path):
    """A class or function imported from elsewhere is not registered again."""
    name = "wildcast_discovery_helper"
    write(tmp_path / "lib", **{name: GOOD.format(name="theirs")})
    text = f"import sys\nsys.path.insert(0, {str(tmp_path / 'lib')!r})\nfrom {name} import *\nsys.path.pop(0)\n"
    found = discover([write(tmp_path / "flows", one=text + "from wildcast_server import Workflow\n")])
    del sys.modules[name]
    assert (found.registry.names(), found.failures) == ([], ())


def test_files_of_one_name_do_not_collide(tmp_path):
    """Two directories may each have a file of the same name."""
    first = write(tmp_path / "x", one=GOOD.format(name="a"))
    second = write(tmp_path / "y", one=GOOD.format(name="b"))
    assert discover([first, second, first]).registry.names() == ["a", "b", "f_a", "f_b"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def", "SyntaxError"),
        ("x = 1\nimport not_installed_anywhere", r"ModuleNotFoundError.*line 2"),
        ("raise SystemExit(3)", "SystemExit"),
        ("1 / 0", "ZeroDivisionError"),
        ("class E(BaseException): pass\nraise E()", "E"),
        ("from wildcast_server import workflow\n@workflow\ndef f(x): ...", "type hint"),
        ("from wildcast_server import Workflow\nclass A(Workflow):\n  def run(self, p, c): ...", "no name"),
        ("\0", "SyntaxError|ValueError"),
    ],
)
def test_a_file_that_fails_harms_no_other(tmp_path, text, reason):
    """A failure names the file and the reason; the files before and after it are loaded."""
    found = discover([write(tmp_path, a=GOOD.format(name="a"), b=text, c=GOOD.format(name="c"))])
    assert found.registry.names() == ["a", "c", "f_a", "f_c"]
    (failure,) = found.failures
    assert failure.path == tmp_path / "b.py"
    assert re.search(reason, failure.message)
    assert str(failure.path) in failure.message


def test_the_second_of_a_name_is_a_failure(tmp_path):
    """Two files with one workflow name: the first counts, the second is a failure that names both."""
    found = discover([write(tmp_path, a=GOOD.format(name="same"), b=GOOD.format(name="same"))])
    assert found.registry.source("same") == tmp_path / "a.py"
    assert "a.py" in found.failures[0].message
    assert "b.py" in found.failures[0].message


def test_private_and_other_files_are_left_alone(tmp_path):
    """Names that begin with an underscore or a dot, other endings and directories are not imported."""
    write(tmp_path, _private="1/0", **{".hidden": "1/0"})
    (tmp_path / "notes.txt").write_text("1/0")
    (tmp_path / "package.py").mkdir()
    found = discover([tmp_path])
    assert (found.registry.names(), found.failures) == ([], ())


def test_a_missing_directory_is_a_settings_error(tmp_path):
    """A directory that is not there is not the same as an empty one."""
    with pytest.raises(SettingsError, match="missing"):
        discover([tmp_path / "missing"])


def test_pydantic_and_dataclasses_find_the_module(tmp_path):
    """Postponed annotations resolve: the module is known while it is imported."""
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n"
        "from wildcast_server import RunContext, workflow\n"
        "@dataclass\nclass D:\n  x: ClassVar[int] = 1\n"
        "@workflow\ndef f(n: int, context: RunContext) -> None: ...\n"
    )
    found = discover([write(tmp_path, a=text)])
    assert (found.registry.names(), found.failures) == (["f"], ())
    assert list(found.registry.get("f").Parameters.model_fields) == ["n"]


def test_the_hash_is_the_files(tmp_path):
    """Each workflow of a file has the hash of the bytes that were imported."""
    found = discover([write(tmp_path, one=GOOD.format(name="a"))])
    expected = hashlib.sha256((tmp_path / "one.py").read_bytes()).hexdigest()
    assert [found.registry.entry(name).sha256 for name in found.registry] == [expected] * 2
    assert sha256_of(tmp_path / "one.py") == expected
    assert sha256_of(tmp_path / "gone.py") is None


def test_a_quick_edit_is_seen(tmp_path):
    """What is imported is the file as it is, also if an edit left its size and its time as they were."""
    path = write(tmp_path, one=GOOD.format(name="a")) / "one.py"
    discover_file(path)
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_text(GOOD.format(name="b"))
    os.utime(path, ns=times)
    assert discover_file(path).registry.names() == ["b", "f_b"]
    assert [found.name for found in tmp_path.iterdir()] == ["one.py"]


def test_a_refused_file_is_not_imported(tmp_path):
    """It is a failure with its reason; the others are loaded."""
    write(tmp_path, a="import os; os._exit(1)", b=GOOD.format(name="b"))
    found = discover([tmp_path], refused={tmp_path / "a.py": "it ends its process"})
    assert found.registry.names() == ["b", "f_b"]
    assert [failure.message for failure in found.failures] == [
        f"{tmp_path / 'a.py'} cannot be imported: it ends its process"
    ]


def test_the_files_are_those_that_are_loaded(tmp_path):
    """They can be listed without importing anything."""
    write(tmp_path / "x", b="1/0", a="1/0", _c="1/0")
    assert workflow_files([tmp_path / "x", tmp_path / "x"]) == [tmp_path / "x" / "a.py", tmp_path / "x" / "b.py"]


class Foreign:
    """A dialect of classes with a method `compute`, which a name in `sys.modules` surrounds."""

    def __init__(self) -> None:
        self.log = []

    @contextmanager
    def importing(self, path):
        sys.modules["wildcast_foreign"] = sys
        self.log.append(path.name)
        try:
            yield
        finally:
            del sys.modules["wildcast_foreign"]

    def workflows(self, module):
        assert "wildcast_foreign" in sys.modules
        for name, value in vars(module).items():
            if name == "Raises":
                raise LookupError("the dialect met something")
            if name == "Bad":
                yield WorkflowLoadError("Bad has no name")
            if hasattr(value, "compute"):
                yield type(name, (Workflow,), {"name": name, "run": lambda *_: None})


def test_another_dialect_is_understood(tmp_path):
    """Its names exist while a file is imported, and its classes come as workflows beside our own."""
    write(tmp_path, a=GOOD.format(name="a") + "import wildcast_foreign\nclass Theirs:\n  compute = 1\n")
    dialect = Foreign()
    found = discover([tmp_path], dialect)
    assert (found.registry.names(), found.failures) == (["Theirs", "a", "f_a"], ())
    assert found.registry.source("Theirs") == tmp_path / "a.py"
    assert (dialect.log, "wildcast_foreign" in sys.modules) == (["a.py"], False)


@pytest.mark.parametrize(
    ("text", "reason", "left"),
    [
        ("1 / 0", "ZeroDivisionError", []),
        ("Bad = 1\nclass Good:\n  compute = 1", "Bad has no name", ["Good"]),
        ("class Good:\n  compute = 1\nRaises = 1", "the dialect met something", []),
    ],
)
def test_what_a_dialect_cannot_use_names_the_file(tmp_path, text, reason, left):
    """An import that fails, a class that cannot be used and a dialect that raises are failures of that file alone."""
    write(tmp_path, a=text, b=GOOD.format(name="b"))
    found = discover([tmp_path], Foreign())
    assert found.registry.names() == [*left, "b", "f_b"]
    (failure,) = found.failures
    assert reason in failure.message
    assert str(tmp_path / "a.py") in failure.message
    assert "wildcast_foreign" not in sys.modules


HEAD = (
    "import functools\nfrom pathlib import PurePath\nfrom typing import *\nfrom pydantic import BaseModel\n"
    "from wildcast_server import Workflow, workflow\n"
)
WITH_MODEL = (
    "class W(Workflow):\n    name = 'w'\n    def run(self, parameters, context): ...\n"
    "    class {}(BaseModel):\n        x: '{}' = 1\n"
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class Odd: ...\n@workflow\ndef w(x: Odd) -> None: ...", "Odd"),
        ("@workflow\ndef w(x: 'int[') -> None: ...", "type hint of 'x' cannot be evaluated"),
        ("@workflow\ndef w(x: 'functools.nothing') -> None: ...", "type hint of 'x' cannot be evaluated"),
        ("@workflow\ndef w(_x: int) -> None: ...", "cannot begin with '_'"),
        ("@workflow(description=5)\ndef w() -> None: ...", "description"),
        ("@workflow(description='\\udcff')\ndef w() -> None: ...", "surrogates"),
        (WITH_MODEL.format("Parameters", "Missing"), "'Missing' is not defined"),
        (WITH_MODEL.format("Config", "Missing"), "'Missing' is not defined"),
        ("@workflow\n@functools.cache\ndef w() -> None: ...", "right above a `def`"),
        ("@workflow\nclass W: ...", "right above a `def`"),
    ],
)
def test_what_cannot_be_made_a_workflow_harms_no_other(tmp_path, text, reason):
    """Whatever a type hint, a model or a decorator does, it is a failure of its file, with the reason."""
    found = discover([write(tmp_path, a=HEAD + text + "\n", b=GOOD.format(name="b"))])
    assert found.registry.names() == ["b", "f_b"]
    (failure,) = found.failures
    assert str(tmp_path / "a.py") in failure.message
    assert reason in failure.message
    assert "errors.pydantic.dev" not in failure.message


def test_a_model_may_name_what_stands_below_it(tmp_path):
    """It is resolved once the whole file is there."""
    text = WITH_MODEL.format("Parameters", "Below | int") + "class Below(BaseModel):\n    y: int\n"
    found = discover([write(tmp_path, a=HEAD + text)])
    assert found.failures == ()
    assert "Below" in str(found.registry.get("w").Parameters.model_json_schema())


def test_a_file_that_sets_logging_up_changes_nothing(tmp_path):
    """Level and handlers of the root logger are the service's, whatever a file does to them."""
    (tmp_path / "loud.py").write_text("import logging\nlogging.basicConfig(level=1, force=True)\n")
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    discover([tmp_path])
    assert (root.level, root.handlers) == before


def test_a_file_without_a_workflow_is_told(tmp_path):
    """One that registers none is known as such, with its reason if it names one; one that fails is a failure."""
    write(tmp_path, a=GOOD.format(name="a"), b="x = 1", c="NO_WORKFLOW_BECAUSE = 'no GPU'", d="1 / 0")
    found = discover([tmp_path])
    assert found.empty == {tmp_path / "b.py": None, tmp_path / "c.py": "no GPU"}
