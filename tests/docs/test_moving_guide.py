"""The guide's list of faults names tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "moving-from-earth2studio.md"


def test_each_fault_names_tests_that_exist():
    """Every row of the list has a test, and none was renamed or removed since."""
    faults = GUIDE.read_text(encoding="utf-8").partition("## Fault by fault")[2]
    rows = faults.partition("| --- | --- |\n")[2].partition("\n\n")[0].splitlines()
    assert rows
    for row in rows:
        named = re.findall(r"`(tests/[^`]+)::(test_[^`]+)`", row)
        assert named, row
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"
