"""What the tests of several machines share with the long ones."""

from tests.long.conftest import figures, pytest_terminal_summary, settings, start

__all__ = ["figures", "pytest_terminal_summary", "settings", "start"]
