"""The command line `wildcast-server`."""

import sys

EXTRAS = {
    "cftime": "netcdf",
    "h5netcdf": "netcdf",
    "h5py": "netcdf",
    "iris_sample_data": "demo",
    "matplotlib": "demo",
}
"""Which extra brings a module; any other comes with `server`."""


def main() -> None:
    """Run the command line; where a library is missing, say which extra brings it."""
    try:
        from wildcast_server.cli.commands import cli

        cli(prog_name="wildcast-server")
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module in {"", "wildcast", "wildcast_server"}:
            raise
        extra = EXTRAS.get(module, "server")
        sys.exit(
            f"wildcast-server needs the Python module {module!r}; it comes with the extra {extra!r}. Install it with:\n"
            f"  pip install 'wildcast[{extra}]'"
        )
