"""What a request's path names."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wildcast.contract.naming import quote_key
from wildcast.contract.policy import resource_matches
from wildcast_server.edge.target import MalformedTargetError, TargetError, parse_target


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.sampled_from("ab./%2eEfF5cC\\0*?~é "), max_size=24))
@example("exec_1/..;/x")
@example("exec_1/%252e%252e/x")
def test_the_checked_path_is_the_opened_path(rest: str) -> None:
    """Whatever opens for a prefix has a key below that prefix, and a path that the key alone determines."""
    raw = f"/outputs/exec_1/{rest}".partition("?")[0].encode("utf-8")
    try:
        target = parse_target(raw, b"")
    except TargetError:
        return
    assert target.key is None or target.key.startswith("outputs/exec_1/")
    assert target.key is None or not {"", ".", ".."} & set(target.key.split("/"))
    assert resource_matches("https://d/outputs/exec_1/*", f"https://d{target.suffix}")


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="/\\"), min_size=1), min_size=1
    )
)
def test_every_key_has_a_path(segments: list[str]) -> None:
    """What the client percent-encodes is the key that is opened."""
    key = "/".join(segments)
    if {".", ".."} & set(segments) or len(key.encode()) > 1024:
        return
    assert parse_target(f"/{quote_key(key)}".encode(), b"").key == key


def test_a_path_without_its_slash_is_malformed() -> None:
    """Absolute forms and asterisks never reach a key."""
    for raw in (b"", b"*", b"http://evil.example/x", b"x"):
        with pytest.raises(MalformedTargetError):
            parse_target(raw, b"")
