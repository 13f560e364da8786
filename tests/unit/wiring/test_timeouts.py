"""How long a workflow may run: by the settings, by its own word, or any time."""

from pathlib import Path

import pytest

from wildcast_server.jobs import Survey, Surveyed
from wildcast_server.settings import load_settings
from wildcast_server.wiring.workflows import seconds_for

SEEN = Survey({"quick": Surveyed(Path("a.py"), 60.0), "any": Surveyed(Path("a.py"), None)})


@pytest.mark.parametrize(
    ("values", "name", "seconds"),
    [
        ({}, "quick", 60.0),
        ({}, "any", None),
        ({}, "unknown", None),
        ({"workflows.timeout": 7}, "quick", 60.0),
        ({"workflows.timeout": 7}, "any", 7.0),
        ({"workflows.timeout": 7}, "unknown", 7.0),
        ({"workflows.timeout": 7, "workflows.timeouts": {"quick": 5}}, "quick", 5.0),
        ({"workflows.timeout": 7, "workflows.timeouts": {"any": None}}, "any", None),
    ],
)
def test_the_nearest_word_counts(tmp_path, values, name, seconds):
    """What the settings say of a workflow goes before what it says itself, and that before what they say of all."""
    chosen = load_settings(values, environ={}, cwd=tmp_path).settings.workflows
    assert seconds_for(chosen, SEEN, name) == seconds
