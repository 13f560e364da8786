"""The datasets of a result: what is in them, and how a variable looks."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wildcast._errors import DatasetError, ReadError, WildcastError
from wildcast._text import one_line
from wildcast.cli.acting import execution_argument
from wildcast.cli.invocation import Command, Invocation, refuse
from wildcast.cli.pairs import read_pairs

if TYPE_CHECKING:
    import xarray as xr

    from wildcast._result import Result


@click.command("open", cls=Command)
@execution_argument
@click.argument("name", required=False)
@click.option("--group", metavar="GROUP", help="This group of it.")
@click.pass_obj
def open_command(invocation: Invocation, execution: str, name: str | None, group: str | None) -> None:
    """Print what is in a dataset.

    Its dimensions, variables and attributes; NAME is needed where there are several. No values are read but the
    coordinates'.
    """
    with invocation.result(execution) as result:
        dataset = _opened(result, name, group)
        invocation.output.answer(_described(dataset) if invocation.output.as_json else None, repr(dataset))


def _opened(result: "Result", name: str | None, group: str | None) -> "xr.Dataset":
    try:
        return result.open_dataset(name, **({} if group is None else {"group": group}))
    except WildcastError:
        raise
    except (KeyError, OSError) as error:
        if group is None:
            raise
        reason = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise DatasetError(
            f"There is no group {group!r} that can be opened ({reason}); `wildcast ls` lists what there is."
        ) from error
    except ValueError as error:
        # What is there is no such dataset, as those say who tried to decode it.
        raise ReadError(f"It cannot be opened as a dataset: {error}") from error


def _described(dataset: "xr.Dataset") -> dict[str, Any]:
    described: dict[str, Any] = dataset.to_dict(data=False)
    return described


@click.command("plot", cls=Command)
@execution_argument
@click.argument("variable")
@click.option("--name", metavar="DATASET", help="The dataset; needed where there are several.")
@click.option("--group", metavar="GROUP", help="This group of it.")
@click.option("--sel", "labels", multiple=True, metavar="DIM=VALUE", help="At the nearest value of a coordinate.")
@click.option("--isel", "indices", multiple=True, metavar="DIM=INDEX", help="At an index; -1 is the last.")
@click.option(
    "-o", "--output", "target", metavar="FILE", help="A PNG, or - for standard output.  [default: VARIABLE.png]"
)
@click.pass_obj
def plot_command(
    invocation: Invocation,
    execution: str,
    variable: str,
    name: str | None,
    group: str | None,
    labels: tuple[str, ...],
    indices: tuple[str, ...],
    target: str | None,
) -> None:
    """Draw a variable as a PNG.

    It is a map, a section or a line. Of more than two dimensions, the others are taken at their first index, unless
    --sel or --isel says where; the title tells which. Needs the extra `plot`.
    """
    from wildcast.cli import quicklook, selecting

    quicklook.check_matplotlib()
    chosen = read_pairs(labels, "--sel"), _indices(indices)
    with invocation.result(execution) as result:
        dataset = _opened(result, name, group)
        array = selecting.find_variable(dataset, variable)
        picture = quicklook.draw(selecting.select(array, *chosen), execution.rpartition("/")[2])
    for remark in picture.remarks:
        invocation.output.note(remark)
    _write(invocation, picture.png, target or f"{_file_name(variable)}.png")


def _indices(texts: tuple[str, ...]) -> dict[str, int]:
    try:
        return {name: int(value) for name, value in read_pairs(texts, "--isel").items()}
    except ValueError:
        refuse("--isel takes whole numbers, such as time=0; --sel takes a coordinate's values.")


def _file_name(variable: str) -> str:
    return one_line(variable).replace("/", "_").replace("\\", "_").lstrip(".") or "variable"


def _write(invocation: Invocation, png: bytes, target: str) -> None:
    if target == "-":
        if sys.stdout.isatty():
            refuse("Standard output is a terminal; give -o FILE.png, or send it on with a pipe.")
        invocation.output.data([png])
        return
    Path(target).write_bytes(png)
    invocation.output.answer({"path": target}, target)
