"""The commands of `wildcast-server`. Each imports what it needs when it runs, so that all start fast."""

import gc
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from wildcast._version import __version__
from wildcast_server.errors import WildcastServerError

if TYPE_CHECKING:
    from wildcast_server.settings import LoadedSettings, Settings

logger = logging.getLogger(__name__)

CONFIG_COLUMN = 60
"""Where `config` begins to say where a value came from, if the value leaves room."""


class OneSentence(click.ClickException):
    """An error of ours, shown without a traceback."""

    def show(self, file: Any = None) -> None:
        """Print the sentence to standard error."""
        for line in self.message.splitlines():
            click.echo(f"wildcast-server: {line}", file=file or sys.stderr)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn our errors into a sentence and exit code 1."""
    try:
        yield
    except WildcastServerError as error:
        raise OneSentence(str(error)) from error


@contextmanager
def importing() -> Iterator[None]:
    """Import and make what then stays: the garbage collector need not look through it, now or later."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


@contextmanager
def until_stopped() -> Iterator[threading.Event]:
    """Give the event that SIGINT and SIGTERM set; say so when everything has ended."""
    from wildcast_server.wiring.stopping import StopRequestedError, stop_requests

    with one_sentence(), stop_requests() as stop:
        with suppress(StopRequestedError):
            yield stop
        logger.info("stopped")


@dataclass(frozen=True)
class Invocation:
    """What was said before the command's name."""

    config_file: Path | None
    values: dict[str, Any]

    def load(self, **arguments: Any) -> "LoadedSettings":
        """Read the settings; what a command's own options say comes first."""
        from wildcast_server.settings import load_settings, unused_sentence

        given = {name: value for name, value in arguments.items() if value is not None}
        with one_sentence():
            loaded = load_settings({**self.values, **given}, config_file=self.config_file)
        for name in loaded.unused:
            click.echo(f"wildcast-server: {unused_sentence(name)}", err=True)
        return loaded

    def start(self, **arguments: Any) -> "Settings":
        """Read the settings and set logging up accordingly."""
        from wildcast_server.wiring.logs import set_up_logging

        settings = self.load(**arguments).settings
        set_up_logging(settings.log)
        return settings


def parse_assignment(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    """Read ``section.name=value`` pairs; a value is YAML, so that numbers, booleans and lists can be given."""
    import yaml

    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{text!r} has not the form section.name=value")
        try:
            values[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise click.BadParameter(f"the value of {name} is not YAML") from error
    return values


def parse_prefix(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """Read the path of what was published."""
    from wildcast.contract.naming import InvalidPathError, check_key

    try:
        return check_key(text.strip("/").removesuffix("/*"))
    except InvalidPathError as error:
        # Not the text itself: a signed URL is a secret.
        raise click.BadParameter(
            "give the path of a publication in the store, such as outputs/exec_1769560728_10ed9d3c, without scheme, "
            "domain and bucket"
        ) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wildcast-server")
@click.option(
    "--config", type=click.Path(path_type=Path), help="Configuration file [default: $WILDCAST_CONFIG or ./config.yaml]."
)
@click.option(
    "--set",
    "values",
    multiple=True,
    metavar="NAME=VALUE",
    callback=parse_assignment,
    help="Set one setting, such as object_storage.bucket=my-bucket; repeatable, before everything else.",
)
@click.pass_context
def cli(context: click.Context, config: Path | None, values: dict[str, Any]) -> None:
    """Run workflows, publish what they write, and sign the URLs under which it is read."""
    context.obj = Invocation(config, values)


@cli.command()
@click.option("--port", type=int, help="Where the API listens (0: any free port).")
@click.option("--edge-port", type=int, help="Where the edge listens (0: any free port).")
@click.pass_obj
def serve(invocation: Invocation, port: int | None, edge_port: int | None) -> None:
    """Run API, edge and workers until SIGINT or SIGTERM; what dies is started again."""
    settings = invocation.start(**{"api.port": port, "edge.port": edge_port})
    from wildcast_server.wiring.stack import Embedded

    with until_stopped() as stop, Embedded(settings, stop) as running:
        click.echo(f"API   {settings.api.public_url or running.api_url}/docs", err=True)
        if running.edge_url:
            click.echo(f"edge  {running.edge_url}", err=True)
        running.wait(stop)


@cli.command()
@click.option("--port", type=int, help="Where it listens (0: any free port).")
@click.pass_obj
def api(invocation: Invocation, port: int | None) -> None:
    """Run an API alone; any number of them may share a database with the workers."""
    settings = invocation.start(**{"api.port": port})
    from wildcast_server.wiring.stack import ApiAlone

    with until_stopped() as stop, ApiAlone(settings, stop) as running:
        click.echo(f"API   {settings.api.public_url or running.api_url}/docs", err=True)
        running.wait(stop)


@cli.command()
@click.option(
    "--queue",
    "queues",
    multiple=True,
    type=click.Choice(["compute", "publish"]),
    help="What to work on, repeatable: running workflows, or publishing what they wrote on this machine's disk.  "
    "[default: both]",
)
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    help="How many jobs of each queue at a time.  [default: workers.compute_slots and workers.publish_slots]",
)
@click.pass_obj
def worker(invocation: Invocation, queues: tuple[str, ...], slots: int | None) -> None:
    """Run workers alone until SIGINT or SIGTERM; one that dies is started again.

    Each slot is a process. Told to stop, a worker takes nothing new, lets a workflow and a publication go on for a
    while, and gives back what has not ended, so that another one goes on with it.
    """
    settings = invocation.start()
    from wildcast_server.usecases.queues import COMPUTE, PUBLISH
    from wildcast_server.wiring.stack import Workers

    chosen = dict.fromkeys(queues or (COMPUTE, PUBLISH))
    with until_stopped() as stop, Workers(settings, stop, queues=list(chosen), slots=slots) as running:
        click.echo("worker up", err=True)
        running.wait(stop)


@cli.command()
@click.option("--port", type=int, help="Where it listens (0: any free port).")
@click.pass_obj
def edge(invocation: Invocation, port: int | None) -> None:
    """Run an edge alone: it checks signed URLs and serves the configured store."""
    settings = invocation.start(**{"edge.port": port})
    from wildcast_server.wiring.stack import EdgeAlone

    with until_stopped() as stop, EdgeAlone(settings, stop) as running:
        click.echo(f"edge  {running.edge_url}", err=True)
        running.wait(stop)


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the publication [default: the directory's own].")
@click.pass_obj
def publish(invocation: Invocation, directory: Path, name: str | None) -> None:
    """Upload DIRECTORY to the configured store, verify it, and print its metadata as JSON.

    No server is needed. Publishing an unchanged directory again is the same publication; a changed one goes beside it,
    as NAME-2, since what a reader may have seen is never rewritten.
    """
    with importing():
        settings = invocation.start()
        from wildcast_server.wiring.publishing import publish_alone

    # As Ctrl-C: what is in flight comes to its end, and nothing half done stays in the store.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with one_sentence():
        metadata = publish_alone(settings, directory, name)
    click.echo(msgspec.json.format(msgspec.json.encode(metadata)))


@cli.command()
@click.argument("prefix", callback=parse_prefix)
@click.option(
    "--expires-in",
    type=click.IntRange(1),
    metavar="SECONDS",
    help="Lifetime [default: object_storage.signed_url_expires_in].",
)
@click.option(
    "--starts",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]),
    help="Valid only from then on, such as 2026-01-31T12:00:00+0000.",
)
@click.option("--ip", help="Valid only for this IPv4 address or network, such as 192.0.2.0/24.")
@click.option("--cookies", is_flag=True, help="Print signed cookies, as JSON, instead of a URL.")
@click.pass_obj
def sign(
    invocation: Invocation, prefix: str, expires_in: int | None, starts: datetime | None, ip: str | None, cookies: bool
) -> None:
    """Print a signed URL for everything below PREFIX, such as outputs/exec_1769560728_10ed9d3c."""
    settings = invocation.start()
    from wildcast_server.wiring.publishing import configured_signer

    with one_sentence():
        signer = configured_signer(settings)
        if cookies:
            click.echo(json.dumps(signer.sign_cookies(prefix, expires_in=expires_in, starts=starts, ip=ip).cookies))
        else:
            click.echo(signer.sign_prefix(prefix, expires_in=expires_in, starts=starts, ip=ip).url)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object by name: value and source.")
@click.option("--defaults", is_flag=True, help="What holds where nothing is set; no file and no variable is read.")
@click.pass_obj
def config(invocation: Invocation, as_json: bool, defaults: bool) -> None:
    """Print every setting with where its value came from; secrets are hidden."""
    from wildcast_server.settings import describe, load_settings

    loaded = load_settings(environ={}, config_file=Path(os.devnull)) if defaults else invocation.load()
    lines = describe(loaded)
    if as_json:
        click.echo(json.dumps({line.name: {"value": line.value, "source": line.source} for line in lines}, indent=2))
        return
    for line in lines:
        value = line.value if isinstance(line.value, str) else json.dumps(line.value, ensure_ascii=False)
        click.echo(f"{f'{line.name} = {value}':<{CONFIG_COLUMN}}  # {line.source}")


@cli.command()
@click.pass_obj
def migrate(invocation: Invocation) -> None:
    """Bring the database of records and jobs to this version's schema."""
    settings = invocation.start()
    from wildcast_server.wiring.database import migrate_database

    with one_sentence():
        migrate_database(settings)
    click.echo("the database has the schema of this version")


@cli.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.pass_obj
def cleanup(invocation: Invocation, dry_run: bool) -> None:
    """Let expire, remove and forget what is due, now; a service that runs does the same by itself."""
    settings = invocation.start()
    from wildcast_server.wiring.cleanup import cleanup as clean_up

    with one_sentence():
        clean_up(settings, dry_run=dry_run, say=click.echo)


@cli.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("wildcast-data/demo"),
    show_default=True,
    help="Where everything of the demo goes.",
)
def demo(directory: Path) -> None:
    """Publish a real climate projection and open it, checked, through a signed URL."""
    import wildcast
    from wildcast_server.demo import demo_settings, run_demo
    from wildcast_server.wiring.logs import set_up_logging

    try:
        with one_sentence():
            settings = demo_settings(directory)
            set_up_logging(settings.log)
            run_demo(settings, sys.stdout)
    except wildcast.WildcastError as error:
        raise OneSentence(str(error)) from error
