"""README and docs are true: every block runs, every path, command and make target that they name exists."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")))
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_BY_A_TEST = {"bash", "python", "yaml", "console", "text"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: Path
    language: str
    text: str


def blocks(document: Path, language: str | None = None) -> Iterator[Block]:
    for match in BLOCK.finditer(document.read_text(encoding="utf-8")):
        if language in (None, match[1]):
            yield Block(document, match[1], match[2])


def joined(document: Path, language: str) -> str:
    return "\n".join(block.text for block in blocks(document, language))


def name_of(document: Path) -> str:
    return document.name


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


@every_document
def test_each_block_has_a_language_that_something_checks(document):
    """No block escapes these tests by its language, or for want of one."""
    opened = re.findall(r"^```(\S*)$", document.read_text(encoding="utf-8"), re.MULTILINE)[::2]
    assert set(opened) <= RUN_BY_A_TEST


@pytest.fixture(scope="module")
def serving(tmp_path_factory) -> Iterator[dict[str, str]]:
    """Run `wildcast-server serve` as `make serve` does, on free ports; give what its users' environment needs."""
    data = tmp_path_factory.mktemp("serving")
    environment = os.environ | {
        "WILDCAST_DATA_DIR": str(data),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = ["wildcast-server", "serve", "--port", "0", "--edge-port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as server:
        api, edge = announced(server)
        yield environment | {"API": api, "WILDCAST_EDGE__PUBLIC_URL": edge}
        server.terminate()
        server.communicate(timeout=60)
    assert server.returncode == 0


def announced(server: subprocess.Popen[str]) -> tuple[str, str]:
    urls: dict[str, str] = {}
    for line in server.stderr:
        if match := re.match(r"(API|edge) +(http://[\d.:]+)", line):
            urls[match[1]] = match[2]
        if len(urls) == 2:
            return urls["API"], urls["edge"]
    raise AssertionError(f"the stack did not start: exit code {server.wait()}")


def as_served(text: str, environment: dict[str, str]) -> str:
    """Put the ports that the test was given in place of the documented ones."""
    return text.replace("http://127.0.0.1:8000", environment["API"])


@pytest.mark.parametrize("language", ["bash", "python"])
def test_readme_runs_as_written(language, serving, tmp_path):
    """A newcomer who types what README says gets what README promises."""
    text = as_served(joined(ROOT / "README.md", language), serving)
    command = (
        ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-W", "error", "-c", text]
    )
    done = subprocess.run(command, cwd=tmp_path, env=serving, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = {
        "bash": [
            "netcdf_to_zarr",
            '"zarr_format"',
            "/outputs/my-results/*?Policy=",
            "<xarray.Dataset>",
            "last-year.png",
        ],
        "python": [" K\n"],
    }
    assert [words for words in expected[language] if words not in done.stdout] == []


def test_readmes_workflow_runs_as_a_workflow(tmp_path):
    """The file that README tells to save is discovered, and runs in the runner's process."""
    from wildcast_server.jobs import Runner, RunRequest

    source = next(block.text for block in blocks(ROOT / "README.md", "python") if "@workflow" in block.text)
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "random_walk.py").write_text(source)
    request = RunRequest(
        execution_id="exec_1_00000000",
        workflow="random_walk",
        parameters={"steps": 5, "seed": 1},
        output_directory=tmp_path / "output",
    )
    progress = []
    with Runner([tmp_path / "workflows"]) as runner:
        runner.run(request, progress.append)
    assert (tmp_path / "output" / "walk.zarr" / "zarr.json").exists()
    assert progress[-1]["current_step"] == progress[-1]["total_steps"] == 5


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.parent.name == "docs"], ids=name_of)
def test_python_blocks_of_the_docs_run(document, tmp_path, request):
    """The blocks of one document run in order, in one interpreter, with warnings as errors, and a server if need be."""
    text, environment = joined(document, "python"), None
    if "http://127.0.0.1:8000" in text:
        environment = request.getfixturevalue("serving") | {"HOME": str(tmp_path)}
        text = as_served(text, environment)
    command = [sys.executable, "-W", "error", "-c", text]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


NOTEBOOK = """
import ast, asyncio, sys

async def run(cells):
    # As in a notebook: a loop runs, and the last line of a cell is shown.
    names = {"__name__": "__main__"}
    for cell in cells:
        *lines, last = ast.parse(cell).body
        exec(compile(ast.Module(lines, []), "cell", "exec"), names)
        if isinstance(last, ast.Expr):
            shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
            print(getattr(shown, "_repr_html_", lambda: repr(shown))())
        else:
            exec(compile(ast.Module([last], []), "cell", "exec"), names)

asyncio.run(run({cells!r}))
"""


@pytest.mark.parametrize("notebook", sorted((ROOT / "docs").glob("*.ipynb")), ids=name_of)
def test_notebooks_run(notebook, serving, tmp_path):
    """Every cell, in order, in a process whose event loop runs, with warnings as errors; none shows a signature."""
    cells = [
        "".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"
    ]
    text = NOTEBOOK.replace("{cells!r}", repr([as_served(cell, serving) for cell in cells]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=tmp_path,
        env=serving | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "xarray.Dataset" in done.stdout
    assert "Signature=" not in done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_the_command_lines_lines_run(serving, tmp_path):
    """What `docs/command-line.md` types works, one line after the other, and says nothing wrong."""
    text = as_served(joined(ROOT / "docs/command-line.md", "bash"), serving)
    environment = serving | {"HOME": str(tmp_path), "PYTHONWARNINGS": "error"}
    command = ["bash", "-eu", "-c", text]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Error" not in done.stderr
    expected = ["PARAMETER", "<xarray.Dataset>", "shallow_water.zarr/", "vorticity.png", '"attributes"']
    assert [words for words in expected if words not in done.stdout] == []
    assert (tmp_path / "vorticity.png").read_bytes().startswith(b"\x89PNG")


@every_document
def test_yaml_blocks_are_configurations(document, tmp_path):
    """What a document shows as configuration is accepted, its private key's file aside."""
    from wildcast_server.settings import load_settings

    for number, block in enumerate(blocks(document, "yaml")):
        values = yaml.safe_load(block.text)
        values.get("object_storage", {}).pop("cloudfront_private_key_path", None)
        if "cloudfront_domain" in values.get("object_storage", {}):
            values["object_storage"]["cloudfront_private_key"] = private_key()
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(values))
        load_settings(environ={}, config_file=file)


def private_key() -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from wildcast_server.signing import keys

    return keys.generate_private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@every_document
def test_console_blocks_name_make_targets_and_commands_that_exist(document):
    """`make x` is in the Makefile, and `wildcast-server x` and `wildcast x` are commands."""
    from wildcast.cli.program import COMMANDS
    from wildcast_server.cli.commands import cli

    console = (
        joined(document, "console")
        + joined(document, "bash")
        + "\n".join(re.findall(r"`([^`\n]+)`", document.read_text(encoding="utf-8")))
    )
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = {word for line in re.findall(r"\bmake ((?:[a-z0-9-]+ ?)+)", console) for word in line.split()}
    assert made <= targets
    assert set(re.findall(r"wildcast-server ([a-z]+)", console)) <= set(cli.commands)
    assert set(re.findall(r"(?<![\w/.=-])(?<!install )wildcast ([a-z]+)", console)) <= set(COMMANDS)


def test_every_command_is_documented():
    """A command that no document names is a command that nobody finds."""
    from wildcast_server.cli.commands import cli

    text = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    assert [name for name in cli.commands if f"wildcast-server {name}" not in text] == []


def test_every_command_and_option_of_the_client_is_documented():
    """The table names each command of `wildcast`, and on its line each option that it has."""
    import click

    from wildcast.cli.program import COMMANDS, cli

    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8").split("## Commands")[1].split("\n## ")[0]
    context = click.Context(cli)
    shared = {word for option in cli.params for word in option.opts}
    assert {word for word in shared if f"`{word}`" in text} | {"--version"} == shared
    for name in COMMANDS:
        [line] = [line for line in text.splitlines() if re.match(rf"\| `wildcast {name}[` ]", line)]
        options = {word for each in cli.get_command(context, name).params for word in each.opts if word[0] == "-"}
        assert {word for word in options - shared if f"`{word}`" not in line} == set(), name


@every_document
def test_links_and_paths_lead_somewhere(document):
    """Relative links and pictures exist."""
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_to_change_x_open_y_names_what_exists():
    """The table that newcomers steer by has no row that leads nowhere, and leaves no room out."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text.split("## To change X, open Y")[1].split("\n## ")[0]
    named = re.findall(r"`((?:client|server)/[^`]+|config\.yaml)`", table)
    assert [path for path in named if not (ROOT / path).exists()] == []
    rooms = {path.name for path in (ROOT / "server/wildcast_server").iterdir() if (path / "__init__.py").exists()}
    assert {room for room in rooms if f"server/wildcast_server/{room}/" not in table} == set()


def test_tests_that_documents_name_exist():
    """A table that says which test holds a promise names tests that there are."""
    files = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    known = {name for text in files for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE)}
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    named = {name for text in texts for name in re.findall(r"`(test_\w+)`", text)}
    assert named - known == set()
