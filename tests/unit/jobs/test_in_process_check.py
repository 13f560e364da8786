"""Whether an engine would do what it is given."""

import pytest

from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.jobs import InProcessJobs


def test_an_engine_is_usable_from_its_start_to_its_stop():
    """Before and after it says why not."""
    engine = InProcessJobs()
    with pytest.raises(ServiceUnavailableError, match="not been started"):
        engine.check()
    engine.start(lambda _: None)
    engine.check()
    engine.stop(5)
    with pytest.raises(ServiceUnavailableError, match="is stopping"):
        engine.check()
