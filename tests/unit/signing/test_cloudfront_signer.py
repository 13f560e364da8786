"""The CloudFront signer: what its URLs and cookies say."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from wildcast.contract.policy import Policy, b64_decode, parse_policy, parse_signed_url, split_query
from wildcast_server.errors import InvalidKeyPairError, SettingsError, SigningError
from wildcast_server.signing.cloudfront import CloudFrontSigner, normalize_domain
from wildcast_server.signing.keys import PrivateKey

DOMAIN = "https://d111111abcdef8.cloudfront.net"
NOW = 1_900_000_000
MakeSigner = Callable[..., CloudFrontSigner]


def policy_of(url: str) -> Policy:
    policy = parse_signed_url(url).policy
    assert policy is not None
    return policy


def test_a_prefix_is_signed_with_everything_below_it(make_signer: MakeSigner) -> None:
    """The URL and its resource are the prefix, a slash and a star."""
    link = make_signer().sign_prefix("outputs/exec_1")
    assert link.url.startswith(f"{DOMAIN}/outputs/exec_1/*?")
    assert policy_of(link.url) == Policy(f"{DOMAIN}/outputs/exec_1/*", NOW + 3600)
    assert link.expires_at == datetime.fromtimestamp(NOW + 3600, UTC)


def test_the_parameters_are_in_cloudfronts_order(make_signer: MakeSigner) -> None:
    """Policy, signature, key pair id; nothing about SHA-1."""
    names = [name for name, _ in split_query(make_signer().sign_prefix("p").url.partition("?")[2]).signature]
    assert names == ["Policy", "Signature", "Key-Pair-Id"]


def test_only_another_hash_is_named(make_signer: MakeSigner) -> None:
    """SHA-256 is a fourth parameter, at the end."""
    assert make_signer("SHA256").sign_prefix("p").url.endswith("&Key-Pair-Id=KTEST&Hash-Algorithm=SHA256")


def test_one_file_is_signed_alone(make_signer: MakeSigner) -> None:
    """A key's resource has no wildcard."""
    url = make_signer().sign_url("outputs/exec_1/a.nc").url
    assert policy_of(url).resource == f"{DOMAIN}/outputs/exec_1/a.nc"
    assert parse_signed_url(url).base == f"{DOMAIN}/outputs/exec_1/a.nc"


@pytest.mark.parametrize(
    ("key", "encoded"),
    [
        ("a/b*c", "a/b%2Ac"),
        ("a/*b", "a/%2Ab"),
        ("a/b?c", "a/b%3Fc"),
        ("*/a", "%2A/a"),
        ("a b+c#d%e&f", "a%20b%2Bc%23d%25e%26f"),
        ('ü/日本/"', "%C3%BC/%E6%97%A5%E6%9C%AC/%22"),
        ("a\\b", "a%5Cb"),
        ("a/b/*", "a/b/*"),
        ("we?rd*/*", "we%3Frd%2A/*"),
    ],
)
def test_a_key_is_encoded_and_only_the_final_wildcard_kept(make_signer: MakeSigner, key: str, encoded: str) -> None:
    """A star or question mark in a key stands for itself."""
    assert policy_of(make_signer().sign_url(key).url).resource == f"{DOMAIN}/{encoded}"


@pytest.mark.parametrize("prefix", ["", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\nb", "x" * 1025, "\ud800"])
def test_a_prefix_that_names_nothing_is_refused(make_signer: MakeSigner, prefix: str) -> None:
    """Neither URL nor cookies are made for an empty, absolute or climbing prefix."""
    signer = make_signer()
    with pytest.raises(SigningError):
        signer.sign_prefix(prefix)
    with pytest.raises(SigningError):
        signer.sign_cookies(prefix)
    with pytest.raises(SigningError):
        signer.sign_url(f"{prefix}/*")


def test_nothing_opens_the_whole_domain(make_signer: MakeSigner) -> None:
    """A star alone is a key like any other."""
    assert policy_of(make_signer().sign_url("*").url).resource == f"{DOMAIN}/%2A"


def test_start_and_network_are_in_the_policy(make_signer: MakeSigner) -> None:
    """Both conditions arrive, the start in seconds since the epoch."""
    starts = datetime.fromtimestamp(NOW + 60, timezone(timedelta(hours=5)))
    policy = policy_of(make_signer().sign_prefix("p", expires_in=120, starts=starts, ip="10.0.0.0/8").url)
    assert policy == Policy(f"{DOMAIN}/p/*", NOW + 120, NOW + 60, "10.0.0.0/8")


def test_conditions_that_cannot_hold_are_refused(make_signer: MakeSigner) -> None:
    """A start behind the end or without zone, an odd network, no time at all."""
    signer = make_signer()
    late = datetime.fromtimestamp(NOW + 120, UTC)
    with pytest.raises(SigningError, match="must start before it ends"):
        signer.sign_prefix("p", expires_in=120, starts=late)
    with pytest.raises(SigningError, match="zone"):
        signer.sign_prefix("p", starts=late.replace(tzinfo=None))
    with pytest.raises(SigningError, match="IPv4"):
        signer.sign_prefix("p", ip="::1")
    with pytest.raises(SigningError, match="at least a second"):
        signer.sign_prefix("p", expires_in=0)


def test_a_url_over_cloudfronts_limit_is_refused(rsa_key: PrivateKey) -> None:
    """A key whose signed URL has more than 8,192 bytes is not signed."""
    signer = CloudFrontSigner(f"{'a' * 240}.example", "KTEST", rsa_key)
    assert signer.sign_url("ü" * 400).url
    with pytest.raises(SigningError, match="8,192"):
        signer.sign_url("ü" * 512)


def test_cookies_open_a_prefix(make_signer: MakeSigner) -> None:
    """Three cookies, the host without port, and the path below which they are sent."""
    cookies = make_signer(domain="http://127.0.0.1:8001").sign_cookies("outputs/e x", expires_in=60)
    assert list(cookies.cookies) == ["CloudFront-Policy", "CloudFront-Signature", "CloudFront-Key-Pair-Id"]
    assert (cookies.domain, cookies.path) == ("127.0.0.1", "/outputs/e%20x/")
    assert cookies.expires_at == datetime.fromtimestamp(NOW + 60, UTC)
    policy = parse_policy(b64_decode(cookies.cookies["CloudFront-Policy"]))
    assert policy == Policy("http://127.0.0.1:8001/outputs/e%20x/*", NOW + 60)


def test_another_hash_is_a_cookie_of_its_own(make_signer: MakeSigner) -> None:
    """SHA-256 is named beside the other three."""
    assert make_signer("SHA256").sign_cookies("p").cookies["CloudFront-Hash-Algorithm"] == "SHA256"


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("d1.cloudfront.net", "https://d1.cloudfront.net"),
        ("d1.cloudfront.net/", "https://d1.cloudfront.net"),
        ("https://d1.cloudfront.net", "https://d1.cloudfront.net"),
        ("HTTPS://D1.CloudFront.net/", "https://d1.cloudfront.net"),
        ("http://127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("https://d1:443", "https://d1"),
        ("http://d1:80", "http://d1"),
        ("http://d1:443", "http://d1:443"),
        ("http://[::1]:8001/", "http://[::1]:8001"),
        ("edge_1:8001", "https://edge_1:8001"),
    ],
)
def test_a_domain_may_have_scheme_and_slash(domain: str, expected: str) -> None:
    """The scheme is https if none is named, and a scheme's own port is dropped."""
    assert normalize_domain(domain) == expected


@pytest.mark.parametrize(
    "domain",
    [
        "",
        "/",
        "https://",
        "ftp://d",
        "https://d/path",
        "https://u@d",
        "d?x",
        "d#x",
        "*.d",
        "a b",
        "d:port",
        "ü.example",
    ],
)
def test_what_is_no_domain_is_refused(make_signer: MakeSigner, domain: str) -> None:
    """A path, user, wildcard or foreign scheme is no domain."""
    with pytest.raises(SettingsError, match="domain"):
        make_signer(domain=domain)


@pytest.mark.parametrize("name", ["", "K 1", "K&Policy=x", "K\n", "ü"])
def test_a_key_pair_id_that_a_url_would_change_is_refused(rsa_key: PrivateKey, name: str) -> None:
    """Only letters, digits, hyphen and underscore."""
    with pytest.raises(InvalidKeyPairError):
        CloudFrontSigner(DOMAIN, name, rsa_key)


def test_nothing_shows_a_signature(make_signer: MakeSigner) -> None:
    """Links, cookies and the signer itself have no signature, policy or key in their repr and str."""
    signer = make_signer()
    link, cookies = signer.sign_prefix("p"), signer.sign_cookies("p")
    values = [value for name, value in split_query(link.url.partition("?")[2]).signature if name != "Key-Pair-Id"]
    values += [value for name, value in cookies.cookies.items() if name != "CloudFront-Key-Pair-Id"]
    shown = f"{link!r} {link} {cookies!r} {cookies} {signer!r} {signer}"
    assert not [value for value in values if value in shown]
    assert "PrivateKey" not in shown


def test_each_signature_is_made_now(make_signer: MakeSigner, clock: Callable[[], float]) -> None:
    """A later call ends later."""
    signer = make_signer()
    first = signer.sign_prefix("p").expires_at
    clock.now += 10  # type: ignore[attr-defined]
    assert signer.sign_prefix("p").expires_at == first + timedelta(seconds=10)
