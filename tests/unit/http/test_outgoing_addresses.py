"""Which addresses and URLs a request may go to whose URL a client has chosen."""

from ipaddress import ip_network

import pytest

from wildcast_server.errors import ForbiddenAddressError
from wildcast_server.http.addresses import address_of, is_permitted
from wildcast_server.http.outgoing import Outgoing, Target

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0", "2606:4700::1111"]

REFUSED = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104 - refused
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("text", [*PUBLIC, "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_permitted(text: str) -> None:
    """The public internet may be reached, through IPv4 wrapped in IPv6 as well; private ranges end where they end."""
    assert is_permitted(address_of(text), ())


@pytest.mark.parametrize("text", REFUSED)
def test_every_other_address_is_refused(text: str) -> None:
    """Loopback, private, shared, link-local, multicast, reserved, and what wraps them."""
    assert not is_permitted(address_of(text), ())


@pytest.mark.parametrize(
    ("text", "network"), [("10.1.2.3", "10.1.0.0/16"), ("::ffff:10.1.2.3", "10.1.0.0/16"), ("fd00::5", "fd00::/64")]
)
def test_a_network_that_the_operator_names_is_permitted(text: str, network: str) -> None:
    """That network, and not the next one."""
    allowed = (ip_network(network),)

    assert is_permitted(address_of(text), allowed)
    assert not is_permitted(address_of("10.2.0.1"), allowed)
    assert not is_permitted(address_of("fd00:0:0:1::"), allowed)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[fe80::1%25eth0]/",
        "https://169.254.169.254/latest/meta-data/",
        "http://localhost:8000/",
        "http://LOCALHOST./",
        "http://api.localhost/",
        "http://127。0。0。1/",
        "http://①②⑦.0.0.1/",
    ],
)
def test_an_address_that_may_not_be_reached_is_refused_when_it_is_given(url: str) -> None:
    """However it is written; nothing is looked up for it."""
    with pytest.raises(ForbiddenAddressError):
        Outgoing(resolve=_not_to_be_asked).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org/hook",
        "//example.org/hook",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org:70/_x",
        "https://",
        "https:///hook",
        "https://user@example.org/",
        "https://user:secret@example.org/",
        "https://@example.org/",
        "https://example.org:0/",
        "https://example.org:65536/",
        "https://example.org:http/",
        "https://exa mple.org/",
        "https://example.org/a b",
        "https://example.org/\r\nX-Evil: 1",
        "https://example.org\t/",
        "https://example.org\\@10.0.0.1/",
        "https://exam%70le.org/",
        "https://[::1/",
        "https://[v1.x]/",
        f"https://{'a' * 64}.org/",
        f"https://example.org/{'a' * 2048}",
    ],
)
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    """Other schemes, credentials, ports that there are not, and what two readers might read in two ways."""
    with pytest.raises(ForbiddenAddressError) as caught:
        Outgoing(resolve=_not_to_be_asked).check(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Example.org", Target("https", "example.org", 443, "/")),
        ("http://example.org:8080/a/b?c=d&e=%20#f", Target("http", "example.org", 8080, "/a/b?c=d&e=%20")),
        ("https://bücher.example/ü", Target("https", "xn--bcher-kva.example", 443, "/%C3%BC")),
        ("https://[2606:4700::1111]:8443/", Target("https", "2606:4700::1111", 8443, "/")),
        ("https://example.org/a%2fb", Target("https", "example.org", 443, "/a%2fb")),
    ],
)
def test_a_url_is_read_into_what_is_connected_to(url: str, expected: Target) -> None:
    """Host in ASCII, the scheme's port, path and query as they are sent."""
    Outgoing(resolve=_not_to_be_asked).check(url)

    assert Target.of(url) == expected


def test_a_target_shows_no_path() -> None:
    """A path may hold a token."""
    target = Target.of("https://hooks.example.org/services/SECRET?token=SECRET")

    assert repr(target) == "Target('https://hooks.example.org')"
    assert target.origin == "https://hooks.example.org"


def _not_to_be_asked(host: str, port: int) -> list[str]:
    raise AssertionError(f"{host}:{port} was looked up")
