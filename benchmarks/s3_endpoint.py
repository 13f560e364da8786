"""An S3 endpoint on loopback: one that measures clients, or one that checks them.

    python benchmarks/s3_endpoint.py [--port 9100] [--delay-ms 30] [--check] [--token-seconds 2]

By default bodies are thrown away, for it is the client that is to be measured: sizes, ETags and checksum headers are
kept, so that listings, HEAD and ranges are true, and small bodies below ``.wildcast/``, which a publisher reads back.
Only bodies up to 4 KiB are held against their CRC64NVME, so that a client that tries gets a true answer.

With ``--check`` bodies are kept in memory, and whatever S3 refuses is refused: a body that differs from any of its
checksums, parts that are too small, out of order or unknown, conditions that are not met. Signatures are never looked
at; with ``--token-seconds`` access keys ``AK<seconds since the epoch>`` end at that second. `s3.control` says what
else a test can ask for. The first line printed is the port.
"""

import argparse
import asyncio
import signal

import uvloop
from s3.access import Access, Switches
from s3.bodies import Checked, ThrownAway
from s3.connection import listen
from s3.contents import Contents
from s3.service import S3


def _announce(port: int) -> None:
    print(port, flush=True)


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    contents = Contents()
    bodies = Checked() if arguments.check else ThrownAway(contents)
    s3 = S3(contents, bodies, Access(Switches(), arguments.token_seconds))
    await listen(s3, port=arguments.port, delay=arguments.delay_ms / 1000, ready=_announce, stop=stop)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--check", action="store_true", help="keep bodies and verify what S3 verifies")
    parser.add_argument("--token-seconds", type=float, help="how long an access key may live")
    uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
