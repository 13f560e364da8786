"""The ledger of what a store has acknowledged."""

import subprocess
import sys

from wildcast_server.transfer.ledger import Ledger, LedgerRow, read_ledger

ROW = LedgerRow("a", 1, "crc", '"e"', None, is_multipart=False, content_type="text/plain")


def test_a_torn_line_takes_no_other_along(tmp_path):
    """Whoever goes on after a kill begins a line of its own."""
    path = tmp_path / "ledger"
    path.write_bytes(b'["torn",1,"cr')
    for _ in range(2):
        with Ledger(path) as ledger:
            ledger.add(ROW)
    assert read_ledger(path) == {"a": ROW}


def test_a_row_that_the_disk_takes_in_part_is_an_error(tmp_path):
    """The system says no more than how much it took; a row that is only half there would be lost in silence."""
    code = f"""
import resource, signal, sys
from pathlib import Path
from wildcast_server.transfer.ledger import Ledger, LedgerRow
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
row = {ROW!r}
with Ledger(Path(sys.argv[1])) as ledger:
    ledger.add(row)
    try:
        while True:
            ledger.add(row)
    except OSError as error:
        print(error.errno)
"""
    child = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "ledger")], capture_output=True, text=True, check=True
    )
    assert child.stdout.strip().isdecimal()
    assert (tmp_path / "ledger").stat().st_size == 100
    assert read_ledger(tmp_path / "ledger") == {"a": ROW}
