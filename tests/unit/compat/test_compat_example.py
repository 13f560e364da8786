"""The example in Earth2Studio's manner, where Earth2Studio is not installed."""

import importlib.util
import logging

import pytest

from wildcast_server.domain.discovery import discover_file
from wildcast_server.jobs import DIALECT


@pytest.mark.skipif(importlib.util.find_spec("earth2studio") is not None, reason="Earth2Studio is installed")
def test_without_earth2studio_the_example_is_silent(pytestconfig, caplog):
    """The file loads, registers nothing and says why; nothing is logged."""
    caplog.set_level(logging.DEBUG)
    path = pytestconfig.rootpath / "server/example_workflows/deterministic_earth2_workflow.py"
    found = discover_file(path, DIALECT)
    assert (found.registry.names(), found.failures) == ([], ())
    assert found.empty == {path: "Earth2Studio is not installed"}
    assert caplog.records == []
