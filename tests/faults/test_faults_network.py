"""Publications through a network that fails, and one that lies."""

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from wildcast.contract.naming import MANIFEST_PATH
from wildcast_server.errors import WildcastServerError
from wildcast_server.publish import Publisher

Start = Callable[..., Any]
FAULTS = ("--errors", "0.1", "--resets", "0.2", "--stalls", "0.02", "--truncated", "0.05")
AT_A_TIME = 24
BATCH = 100
"""Publications after which the endpoint is emptied, so that its memory does not grow."""


def trials(variable: str, usual: int, smoke: int) -> Any:
    """Run a test with a few trials in the usual suite, and with the full number among the long ones."""
    number = int(os.environ.get(variable, usual))
    long = pytest.param(number, id="full", marks=[pytest.mark.long, pytest.mark.timeout(1800)])
    return pytest.mark.parametrize("count", [pytest.param(smoke, id="few"), long])


@trials("FAULTS_PUBLICATIONS", 1000, 3)
def test_publications_through_a_failing_network_are_byte_exact(
    count: int,
    start_endpoint: Start,
    start_proxy: Start,
    make_publisher: Callable[..., Publisher],
    work: Any,
    figures: Callable[..., None],
):
    """Every publication through errors, resets, stalls and truncated answers completes, and nothing is left over."""
    endpoint = start_endpoint()
    proxy = start_proxy(endpoint.url, *FAULTS)
    publisher = make_publisher(proxy.url)

    def publish(number: int) -> None:
        directory = work.make(f"p{number}", large=number % 10 == 9)
        published = publisher.publish(directory, directory.name)
        work.assert_published(endpoint, directory, published.publication.prefix)
        left = [key for key in endpoint.stats()["unfinished_uploads"] if f"/{directory.name}/" in key]
        assert left == [], "a multipart upload was left behind"
        # Neither memory nor disk is to hold all of them.
        endpoint.ask("POST", f"_control/reset?prefix={published.publication.prefix}/")
        shutil.rmtree(directory)

    began = time.monotonic()
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        list(threads.map(publish, range(count)))
    counts = Counter(proxy.ask("GET", "_proxy/stats")["counts"])
    spoiled = counts.total() - counts["pass"]
    figures(
        "Failing network",
        byte_exact=f"{count} of {count} publications",
        requests_spoiled=f"{spoiled} of {counts.total()}",
        seconds=round(time.monotonic() - began),
    )


MODES: dict[str, dict[str, Any]] = {
    "Rust client, checksum sent": {},
    "boto3, checksum sent": {"use_rust_client": False},
    "Common Runtime, checksum sent": {"crt_min_limit": 0},
    "Rust client, MD5 compared": {"req_checksum": "required", "trust_checksums": False},
}


@trials("FAULTS_FLIPS", 1000, 4)
def test_a_flipped_bit_is_always_detected(
    count: int,
    start_endpoint: Start,
    start_proxy: Start,
    make_publisher: Callable[..., Publisher],
    work: Any,
    figures: Callable[..., None],
):
    """One bit that changes on its way is refused by the store or found by verifying: no manifest covers wrong bytes."""
    endpoint = start_endpoint()
    proxy = start_proxy(endpoint.url)
    publishers = {name: make_publisher(proxy.url, response_timeout=10.0, **more) for name, more in MODES.items()}
    for name, publisher in publishers.items():
        # What a store can do is found out once, before anything is spoiled.
        publisher.publish(work.make(f"first {len(name)}"), f"first-{len(name)}")
    numbers = random.Random(7)
    outcomes: Counter[str] = Counter()
    for trial in range(count):
        name, publisher = list(publishers.items())[trial % len(publishers)]
        directory = work.make(f"f{trial}", large=trial % 40 < len(publishers))
        # Six bodies with something in them, and the manifest; a large file brings two more.
        proxy.ask("PUT", f"_proxy/flip?nth={numbers.randint(1, 9 if trial % 40 < len(publishers) else 7)}")
        outcomes[f"{name}: {_detected(endpoint, publisher, directory, work)}"] += 1
        if trial % BATCH == BATCH - 1:
            endpoint.ask("POST", "_control/reset")
    flipped = len(proxy.ask("GET", "_proxy/stats")["flipped"])
    assert flipped == count
    figures("One bit flipped", detected=f"{count} of {count}", **dict(sorted(outcomes.items())))


def _detected(endpoint: Any, publisher: Publisher, directory: Path, work: Any) -> str:
    """Publish; return how the flipped bit was noticed."""
    before = endpoint.stats()["refused"]
    try:
        published = publisher.publish(directory, directory.name)
    except WildcastServerError as error:
        assert f"outputs/{directory.name}/{MANIFEST_PATH}" not in endpoint.objects()
        work.assert_published(endpoint, directory, publisher.publish(directory, directory.name).publication.prefix)
        return f"{type(error).__name__}, whole when published again"
    work.assert_published(endpoint, directory, published.publication.prefix)
    after = endpoint.stats()["refused"]
    refused = {code for code in after if after[code] > before.get(code, 0)} - {"NoSuchKey"}
    assert refused, "the bit was neither refused nor found"
    return "refused and sent again"
