"""CloudFront policies: their text, what they cover, and signed URLs taken apart."""

import json
import pickle
import time
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wildcast.contract.policy import (
    Policy,
    PolicyError,
    SignedUrl,
    b64_decode,
    b64_encode,
    canned_policy,
    encode_policy,
    has_dot_segments,
    parse_policy,
    parse_signed_url,
    resource_matches,
    shorten_signature,
    split_query,
)

EXPIRES = 1767290400
RESOURCE = "https://d111111abcdef8.cloudfront.net/outputs/exec_1/*"
SECRET = "Canary~Signature_"

plain = st.text(st.sampled_from("abz09._-/%*?"), max_size=30)
policies = st.builds(
    Policy,
    resource=st.builds("{}://{}/{}".format, st.sampled_from(["https", "http", "*"]), st.just("cdn.example"), plain),
    expires=st.integers(2_000_000_000, 4_000_000_000),
    starts=st.none() | st.integers(1, 1_999_999_999),
    ip=st.none() | st.builds("{}/{}".format, st.ip_addresses(v=4), st.integers(0, 32)),
)


def statement(**members: object) -> bytes:
    return json.dumps({"Statement": [{"Resource": RESOURCE} | members]}).encode()


def ends(condition: object = None) -> dict[str, object]:
    return {"DateLessThan": {"AWS:EpochTime": EXPIRES if condition is None else condition}}


def test_the_text_of_a_policy_is_compact_and_in_cloudfronts_order() -> None:
    """A custom policy with every condition is written without white space."""
    policy = Policy("https://d/x*", EXPIRES, starts=1767200000, ip="192.168.0.0/24")
    assert encode_policy(policy) == (
        b'{"Statement":[{"Resource":"https://d/x*","Condition":{"DateLessThan":{"AWS:EpochTime":1767290400},'
        b'"IpAddress":{"AWS:SourceIp":"192.168.0.0/24"},"DateGreaterThan":{"AWS:EpochTime":1767200000}}}]}'
    )


def test_a_canned_policy_names_one_url_and_an_end() -> None:
    """The canned policy has the text that CloudFront rebuilds from ``Expires``."""
    assert canned_policy("https://d/a?size=large", 5) == (
        b'{"Statement":[{"Resource":"https://d/a?size=large","Condition":{"DateLessThan":{"AWS:EpochTime":5}}}]}'
    )


@given(policies)
def test_a_policy_survives_its_text(policy: Policy) -> None:
    """Parsing what was encoded gives the same policy."""
    assert parse_policy(encode_policy(policy)) == policy


def test_a_policy_written_by_hand_may_have_white_space() -> None:
    """The samples of Amazon's guide, indented as they are, can be read."""
    text = json.dumps(json.loads(encode_policy(Policy(RESOURCE, EXPIRES, 7, "10.0.0.0/8"))), indent=3).encode()
    assert parse_policy(text) == Policy(RESOURCE, EXPIRES, 7, "10.0.0.0/8")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        b'{"Statement":[]}',
        b'{"Statement":{}}',
        b"[" * 5000,
        b" " * 9000,
        json.dumps({"Statement": [json.loads(statement(Condition=ends()))["Statement"][0]] * 2}).encode(),
        json.dumps({"Version": 1, **json.loads(statement(Condition=ends()))}).encode(),
        b'{"Statement":[{"Condition":{"DateLessThan":{"AWS:EpochTime":1767290400}}}]}',
        statement(),
        statement(Condition={}),
        statement(Condition=ends(), Effect="Allow"),
        statement(Condition=ends() | {"Unknown": {}}),
        statement(Condition={"DateLessThan": {"AWS:EpochTime": 1, "x": 2}}),
        statement(Condition=ends("1767290400")),
        statement(Condition=ends(condition=True)),
        statement(Condition=ends(1.5)),
        statement(Condition=ends(0)),
        statement(Condition=ends(10**30)),
        statement(Condition={"DateLessThan": {"AWS:EpochTime": None}}),
        statement(Condition=ends() | {"DateGreaterThan": {"AWS:EpochTime": EXPIRES}}),
        statement(Condition=ends() | {"IpAddress": {"AWS:SourceIp": None}}),
        statement(Condition=ends() | {"IpAddress": {"AWS:SourceIp": ["10.0.0.0/8"]}}),
        statement(Condition=ends() | {"IpAddress": {"AWS:SourceIp": "2001:db8::/32"}}),
        statement(Condition=ends() | {"IpAddress": {"AWS:SourceIp": "10.0.0.0/33"}}),
        statement(Condition=ends() | {"IpAddress": {"AWS:SourceIp": "10.0.0.0/255.0.0.0"}}),
        statement(Condition=ends(), Resource=""),
        statement(Condition=ends(), Resource="*"),
        statement(Condition=ends(), Resource=["https://d/*"]),
        statement(Condition=ends()).replace(b'"Resource"', b'"Resource": "https://e/*", "Resource"'),
        b'{"Statement":[{"Resource":"https://d/*","Condition":{"DateLessThan":{"AWS:EpochTime":NaN}}}]}',
    ],
)
def test_a_policy_of_another_form_is_refused(text: bytes) -> None:
    """Two statements, no resource, doubled or unknown members and odd values are no policy."""
    with pytest.raises(PolicyError):
        parse_policy(text)


@pytest.mark.parametrize(
    "resource",
    ["", "*", "ftp://d/*", "d/*", "https://", "https://d/ü", "https://d/a b", 'https://d/"', "https://d/\\", "//d/x"],
)
def test_a_resource_that_would_grant_more_or_break_the_json_is_refused(resource: str) -> None:
    """An empty, relative, foreign or non-ASCII resource is refused."""
    with pytest.raises(PolicyError):
        Policy(resource, EXPIRES)


def test_an_address_alone_is_one_address() -> None:
    """An IP without a length is a network of one."""
    assert Policy(RESOURCE, EXPIRES, ip="12.34.56.78").ip == "12.34.56.78/32"


@pytest.mark.parametrize(
    ("now", "expected"),
    [(100, False), (100.5, True), (101, True), (199, True), (199.9, True), (200, False), (201, False)],
)
def test_a_policy_holds_strictly_between_start_and_end(now: float, expected: bool) -> None:
    """One second around either end decides."""
    assert Policy(RESOURCE, 200, starts=100).is_current(now) is expected


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("192.0.2.0", True),
        ("192.0.2.255", True),
        ("::ffff:192.0.2.9", True),
        ("192.0.3.0", False),
        ("2001:db8::1", False),
        ("testclient", False),
        (None, False),
    ],
)
def test_only_the_network_is_admitted(ip: str | None, expected: bool) -> None:
    """An address outside the policy's network, or none, is not admitted."""
    assert Policy(RESOURCE, EXPIRES, ip="192.0.2.77/24").admits(ip) is expected


def test_without_a_network_everyone_is_admitted() -> None:
    """No IP condition needs no address."""
    assert Policy(RESOURCE, EXPIRES).admits(None)


@pytest.mark.parametrize(
    ("resource", "url", "expected"),
    [
        ("https://d/outputs/exec_1/*", "https://d/outputs/exec_1/a/b/c", True),
        ("https://d/outputs/exec_1/*", "https://d/outputs/exec_1/", True),
        ("https://d/outputs/exec_1/*", "https://d/outputs/exec_1", False),
        ("https://d/outputs/exec_1/*", "https://d/outputs/exec_10/a", False),
        ("https://d/outputs/exec_1*", "https://d/outputs/exec_10/a", True),
        ("https://d/outputs/exec_1/*", "https://d/outputs/exec_1/../exec_2/a", False),
        ("https://d/outputs/exec_1/*", "https://d/outputs/exec_1/%2e%2E/exec_2/a", False),
        ("https://d/outputs/exec_1/*", "https://d/outputs/exec_1/..%2fexec_2/a", False),
        ("https://d/outputs/exec_1/*", "https://d/outputs/exec_1/..%5Cexec_2", False),
        ("https://d/outputs/exec_1/*", "https://e/outputs/exec_1/a", False),
        ("https://d/outputs/exec_1/*", "http://d/outputs/exec_1/a", False),
        ("https://d/outputs/exec_1/*", "https://D/outputs/exec_1/a", True),
        ("https://d/outputs/exec_1/*", "https://d/OUTPUTS/exec_1/a", False),
        ("https://d/outputs/exec_1/*", "https://d/outputs/exec_1/a?v=1", True),
        ("*://d/x", "http://d/x", True),
        ("*://d/x", "https://d/x", True),
        ("*://d/x", "*://d/x", False),
        ("https://*.example.com/x", "https://a.example.com/x", True),
        ("https://*.example.com/x", "https://a.b.example.com/x", True),
        ("https://*/x", "https://evil/a/x", False),
        ("https://*/x", "https://evil/x", True),
        ("https://*.com/x", "https://evil/a.com/x", False),
        ("https://d?.net/x", "https://d1.net/x", True),
        ("https://d?.net/x", "https://d/.net/x", False),
        ("https://*", "https://any.host/any/path?q=1", True),
        ("https://d", "https://d/", True),
        ("https://d", "https://d/x", False),
        ("https://d:8443/x", "https://d/x", False),
        ("https://d/image?.png", "https://d/image1.png", True),
        ("https://d/image?.png", "https://d/image12.png", False),
        ("https://d/image?.png", "https://d/image.png", False),
        ("https://d/a?size=large", "https://d/a?size=large", True),
        ("https://d/a?size=large", "https://d/a?size=small", False),
        ("https://d/a?size=*", "https://d/a?size=large&x=1", True),
        ("https://d/a?b*", "https://d/axb?q=1", True),
        ("https://d/im?ge?s=?", "https://d/image?s=1", True),
        ("https://d/*.png", "https://d/a/b.png", True),
        ("https://d/*.png", "https://d/a?x=.png", False),
        ("https://d/*a", "https://d/x?y=a", False),
        ("https://d/a", "https://d/a?v=1", False),
        ("https://d/a?v=1", "https://d/a", False),
        ("https://d/**/b***", "https://d/x/b?q", True),
        ("https://d/a.b", "https://d/aXb", False),
        ("nonsense", "https://d/a", False),
        ("https://d/*", "nonsense", False),
    ],
)
def test_wildcards_stay_within_their_section(resource: str, url: str, expected: bool) -> None:
    """Protocol, domain, path and query are matched one by one; a final star of the path covers the query."""
    assert resource_matches(resource, url) is expected


def naive(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return naive(pattern[1:], text) or (bool(text) and naive(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and naive(pattern[1:], text[1:])


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_a_path_matches_as_the_definition_says(pattern: str, path: str) -> None:
    """The one-pass match agrees with the textbook recursion."""
    assert resource_matches(f"https://d/{pattern}", f"https://d/{path}") is naive(pattern, path)


def test_a_hostile_pattern_takes_no_longer() -> None:
    """A thousand stars against a long path are decided at once."""
    begin = time.perf_counter()
    assert not resource_matches("https://d/" + "*a" * 2000 + "b", "https://d/" + "a" * 8000)
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize("path", ["/.", "/..", "/a/../b", "/a/%2e%2e/b", "/a/%2E./", "/a/..%2Fb", "/a%5c..%5cb"])
def test_dot_segments_are_seen_however_they_are_encoded(path: str) -> None:
    """A segment that a path resolver would drop is found."""
    assert has_dot_segments(f"https://d{path}")


@pytest.mark.parametrize("path", ["/a..b", "/...", "/.zarray", "/a/%252e%252e/b", "/a?x=/../"])
def test_dots_in_names_are_no_dot_segments(path: str) -> None:
    """Dotfiles, doubly encoded dots and queries are left alone."""
    assert not has_dot_segments(f"https://d{path}")


@given(st.binary(max_size=100))
@example(b"\xfb\xff\xfe")
def test_base64_survives_and_needs_no_escaping(data: bytes) -> None:
    """Decoding what was encoded gives the same bytes, in characters that a URL leaves alone."""
    text = b64_encode(data)
    assert b64_decode(text) == data
    assert not set(text) & set("+=/%&?# ")


@pytest.mark.parametrize("text", ["a", "ab", "abc", "ab==", "a+b_", "a/b_", "abc=", "QUJD ", "QUJ\n", "äbcd", "QR__"])
def test_base64_has_one_form(text: str) -> None:
    """Other alphabets, missing padding, white space and stray bits are refused."""
    with pytest.raises(PolicyError):
        b64_decode(text)


def signed(base: str = "https://d/outputs/exec_1/*", expires: int = EXPIRES) -> str:
    policy = b64_encode(encode_policy(Policy(base, expires)))
    return f"{base}?Policy={policy}&Signature={SECRET}&Key-Pair-Id=K123"


def test_a_signed_prefix_is_taken_apart() -> None:
    """The base is what precedes the wildcard, the query stays raw, and the policy tells when the URL ends."""
    url = parse_signed_url(signed())
    assert url.base == "https://d/outputs/exec_1"
    assert url.query == signed().partition("?")[2]
    assert url.policy == Policy("https://d/outputs/exec_1/*", EXPIRES)
    assert url.expires_at == datetime.fromtimestamp(EXPIRES, UTC)


def test_a_signed_file_is_taken_apart() -> None:
    """Without a wildcard the base is the file's own URL."""
    assert parse_signed_url(signed("https://d/a/b.nc")).base == "https://d/a/b.nc"


def test_a_canned_url_tells_its_end() -> None:
    """``Expires`` says when it ends although there is no policy."""
    url = parse_signed_url(f"https://d/a.nc?Expires={EXPIRES}&Signature={SECRET}&Key-Pair-Id=K")
    assert (url.policy, url.expires_at) == (None, datetime.fromtimestamp(EXPIRES, UTC))


@pytest.mark.parametrize("query", ["", "token=abc", "Policy=junk&Signature=x", "Expires=soon", f"Expires={10**11 * 9}"])
def test_a_url_in_another_cdns_way_has_no_known_end(query: str) -> None:
    """What cannot be read as CloudFront's policy is left to the CDN to judge."""
    url = parse_signed_url(f"https://d/p/*?{query}")
    assert (url.base, url.query, url.policy, url.expires_at) == ("https://d/p", query, None, None)


@pytest.mark.parametrize(
    "url", ["", "x", "/p/*?a", "ftp://d/p", "https://", "https://d/p#f", "https://d/a b", "*://d/p"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    """Relative, foreign, unescaped URLs and those with a fragment are refused."""
    with pytest.raises(PolicyError):
        parse_signed_url(url)


def test_a_refused_url_is_not_repeated() -> None:
    """The error about a signed URL has no signature in it."""
    with pytest.raises(PolicyError) as caught:
        parse_signed_url(signed() + "#fragment")
    assert SECRET not in str(caught.value)


def test_a_signed_url_shows_no_signature() -> None:
    """Neither repr nor str nor an f-string has the signature or the policy in it."""
    url = parse_signed_url(signed())
    shown = f"{url!r} {url!s} {url} {[url]}"
    assert SECRET not in shown
    assert "Policy" not in shown
    assert "https://d/outputs/exec_1" in shown


def test_a_signed_url_can_be_pickled() -> None:
    """It travels to other processes whole."""
    url = parse_signed_url(signed())
    assert pickle.loads(pickle.dumps(url)) == url  # noqa: S301 - our own bytes
    assert isinstance(url, SignedUrl)


def test_a_url_is_shown_with_its_signature_shortened() -> None:
    """People see which parameters there are, and no secret."""
    assert shorten_signature(signed()) == "https://d/outputs/exec_1/*?Policy=…&Signature=…&Key-Pair-Id=K123"
    assert shorten_signature("https://d/x?SECRET") == "https://d/x?…"
    assert shorten_signature("https://d/x") == "https://d/x"
    assert shorten_signature("https://d/x?Key-Pair-Id=K#manifest=https%3A%2F%2Fd%3FSignature%3DS") == (
        "https://d/x?Key-Pair-Id=K"
    )


@given(st.text("0123456789abc~_-=", max_size=20))
def test_no_unknown_value_is_shown(value: str) -> None:
    """Whatever another CDN calls its token, only the name is shown."""
    assert shorten_signature(f"https://d/x?token=q{value}&Expires=5") == "https://d/x?token=…&Expires=5"


def test_cloudfronts_parameters_are_taken_out_of_a_query() -> None:
    """The rest stays as it was sent, and doubled names are seen twice."""
    own, rest = split_query("a=1&Policy=x%7Ey&Signature=s&b=%20&Policy=z&Key-Pair-Id=K&policy=low")
    assert own == (("Policy", "x~y"), ("Signature", "s"), ("Policy", "z"), ("Key-Pair-Id", "K"))
    assert rest == "a=1&b=%20&policy=low"
