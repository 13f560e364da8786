"""The fault proxy spoils what it was told to, and nothing else."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.long
Start = Callable[..., Any]


def outcome(client: httpx.Client, url: str) -> str:
    """Write and read an object; say what became of it."""
    try:
        put = client.put(f"{url}/bucket/key", content=b"x" * 50_000)
        if put.status_code != 200:
            return f"answered {put.status_code}"
        got = client.get(f"{url}/bucket/key")
    except httpx.TimeoutException:
        return "stalled"
    except httpx.TransportError:
        return "broken"
    return "whole" if got.status_code != 200 or len(got.content) == 50_000 else "short"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("--errors", {"answered 500", "answered 503"}),
        ("--resets", {"broken"}),
        ("--stalls", {"stalled"}),
        ("--truncated", {"broken"}),
    ],
)
def test_a_fault_with_share_one_spoils_every_request(
    endpoint: Any,
    start_proxy: Start,
    fault: str,
    expected: set[str],
):
    """Each kind of fault looks to a client as it should."""
    proxy = start_proxy(endpoint.url, fault, "1")
    with httpx.Client(timeout=0.3) as client:
        assert {outcome(client, proxy.url) for _ in range(16)} == expected


def test_without_faults_everything_passes(endpoint: Any, start_proxy: Start):
    """A proxy that was told nothing hands bodies on as they are, many on one connection."""
    proxy = start_proxy(endpoint.url)
    with httpx.Client() as client:
        assert [outcome(client, proxy.url) for _ in range(5)] == ["whole"] * 5
    assert endpoint.read("key") == b"x" * 50_000


def test_the_same_seed_spoils_the_same_requests(endpoint: Any, start_proxy: Start):
    """What happens depends on the seed and the order of the requests alone, in about the shares asked for."""

    def outcomes(seed: int) -> list[str]:
        proxy = start_proxy(endpoint.url, "--errors", "0.2", "--resets", "0.2", "--seed", str(seed))
        with httpx.Client(timeout=5) as client:
            return [outcome(client, proxy.url) for _ in range(60)]

    first = outcomes(1)
    assert first == outcomes(1)
    assert first != outcomes(2)
    assert 10 < Counter(first)["whole"] < 45


def test_exactly_one_bit_of_one_body_is_flipped(endpoint: Any, start_proxy: Start):
    """When armed, the n-th body arrives with one bit changed, and all others as they were."""
    proxy = start_proxy(endpoint.url)
    proxy.ask("PUT", "_proxy/flip?nth=2")
    body = bytes(100)
    with httpx.Client() as client:
        for name in ("1", "2", "3"):
            client.put(f"{proxy.url}/bucket/{name}", content=body)
    ones = [sum(byte.bit_count() for byte in endpoint.read(name)) for name in ("1", "2", "3")]
    assert ones == [0, 1, 0]
    assert proxy.ask("GET", "_proxy/stats")["flipped"] == ["/bucket/2"]
