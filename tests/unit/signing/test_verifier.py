"""The verifier: what it lets through, and how it refuses."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wildcast.contract.naming import quote_key
from wildcast.contract.policy import Policy, b64_encode, canned_policy, encode_policy
from wildcast_server.errors import SignatureRefusedError
from wildcast_server.signing.cloudfront import CloudFrontSigner, HashAlgorithm, raw_signature
from wildcast_server.signing.keys import PrivateKey
from wildcast_server.signing.verify import Refusal, RefusedError, Verifier

DOMAIN = "https://d111111abcdef8.cloudfront.net"
NOW = 1_900_000_000
PREFIX = "outputs/exec_1"
MakeSigner = Callable[..., CloudFrontSigner]

# The fixtures hold no state that an example could change.
shared_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
segments = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="/\\"), min_size=1, max_size=8)
keys = st.lists(segments.filter(lambda text: text not in (".", "..")), min_size=1, max_size=4).map("/".join)


def url_of(signer: CloudFrontSigner, key: str = f"{PREFIX}/a/b", prefix: str = PREFIX) -> str:
    return f"{DOMAIN}/{quote_key(key)}?{signer.sign_prefix(prefix).url.partition('?')[2]}"


def canned_url(key: PrivateKey, url: str, expires: int = NOW + 60) -> str:
    signature = b64_encode(raw_signature(key, canned_policy(url, expires), "SHA1"))
    return f"{url}{'&' if '?' in url else '?'}Expires={expires}&Signature={signature}&Key-Pair-Id=KTEST"


def custom_query(key: PrivateKey, text: bytes) -> str:
    return f"Policy={b64_encode(text)}&Signature={b64_encode(raw_signature(key, text, 'SHA1'))}&Key-Pair-Id=KTEST"


def refusal(verifier: Verifier, url: str, *, cookie: str = "", ip: str | None = "192.0.2.1") -> Refusal:
    with pytest.raises(RefusedError) as caught:
        verifier.check(url, cookie=cookie, ip=ip)
    assert isinstance(caught.value, SignatureRefusedError)
    return caught.value.code


@pytest.mark.parametrize("hash_algorithm", ["SHA1", "SHA256"])
def test_what_is_signed_is_opened(make_signer: MakeSigner, verifier: Verifier, hash_algorithm: HashAlgorithm) -> None:
    """Both kinds of key, with both hashes."""
    signer = make_signer(hash_algorithm)
    assert verifier.check(url_of(signer)).resource == f"{DOMAIN}/{PREFIX}/*"


def test_a_signature_that_is_known_grants_no_more_than_at_first(
    make_signer: MakeSigner, private_key: PrivateKey
) -> None:
    """It is still for its own resource, and its end still comes; a changed byte of it is another signature."""
    now = [float(NOW)]
    verifier, url = Verifier({"KTEST": private_key.public_key()}, lambda: now[0]), url_of(make_signer())
    for _ in range(2):
        verifier.check(url)
    assert refusal(verifier, url.replace(PREFIX, "outputs/exec_2", 1)) is Refusal.ACCESS_DENIED
    assert refusal(verifier, url.replace("Signature=", "Signature=AAAA", 1)) is Refusal.ACCESS_DENIED
    assert refusal(verifier, url.replace("KTEST", "KOTHER")) is Refusal.INVALID_KEY
    verifier.check(url)
    now[0] += 10_000_000
    assert refusal(verifier, url) is Refusal.ACCESS_DENIED


@shared_fixtures
@given(prefix=keys, rest=keys)
def test_every_key_below_a_signed_prefix_is_opened(
    make_signer: MakeSigner, verifier: Verifier, prefix: str, rest: str
) -> None:
    """Whatever characters prefix and key have."""
    verifier.check(url_of(make_signer(), f"{prefix}/{rest}", prefix))


@shared_fixtures
@given(key=keys)
def test_every_signed_key_is_opened(make_signer: MakeSigner, verifier: Verifier, key: str) -> None:
    """A link to one file opens that file."""
    verifier.check(make_signer().sign_url(key).url)


@shared_fixtures
@given(one=keys, other=keys)
@example(one="x", other="*")
@example(one="a/b", other="a/bc")
@example(one="a/b", other="a")
@example(one="?", other="x")
def test_a_signed_key_opens_no_other(make_signer: MakeSigner, verifier: Verifier, one: str, other: str) -> None:
    """A link to one file, or below one prefix, does not open another."""
    signer = make_signer()
    if one != other and one.rpartition("/")[2] != "*":  # a final star is the wildcard
        query = signer.sign_url(f"k/{one}").url.partition("?")[2]
        assert refusal(verifier, f"{DOMAIN}/k/{quote_key(other)}?{query}") == Refusal.ACCESS_DENIED
    if not f"{other}/".startswith(f"{one}/"):
        assert refusal(verifier, url_of(signer, other, one)) == Refusal.ACCESS_DENIED


@pytest.mark.parametrize(
    "url",
    [
        f"{DOMAIN}/outputs/exec_10/a",
        f"{DOMAIN}/outputs/exec_1",
        f"{DOMAIN}/outputs/exec_1x/a",
        f"{DOMAIN}/outputs/exec_2/a",
        f"{DOMAIN}/outputs/exec_1/../exec_2/a",
        f"{DOMAIN}/outputs/exec_1/%2e%2e/exec_2/a",
        f"{DOMAIN}/outputs/exec_1/..%2Fexec_2/a",
        f"{DOMAIN}/outputs/exec_1/..%5Cexec_2/a",
        f"{DOMAIN}/outputs%2Fexec_1/a",
        f"{DOMAIN}/OUTPUTS/exec_1/a",
        f"{DOMAIN}//outputs/exec_1/a",
        f"{DOMAIN}:8443/outputs/exec_1/a",
        "https://d222222abcdef8.cloudfront.net/outputs/exec_1/a",
        "http://d111111abcdef8.cloudfront.net/outputs/exec_1/a",
        f"{DOMAIN}.evil.example/outputs/exec_1/a",
        f"{DOMAIN}@evil.example/outputs/exec_1/a",
    ],
)
def test_nothing_outside_the_prefix_is_opened(make_signer: MakeSigner, verifier: Verifier, url: str) -> None:
    """Siblings, climbs, other spellings, other hosts."""
    query = make_signer().sign_prefix(PREFIX).url.partition("?")[2]
    assert refusal(verifier, f"{url}?{query}") == Refusal.ACCESS_DENIED


@shared_fixtures
@given(
    name=st.sampled_from(["Policy", "Signature"]),
    where=st.integers(0, 10_000),
    other=st.sampled_from("ABCabc019-_~"),
    kind=st.sampled_from(["replace", "cut", "append"]),
)
def test_any_change_of_policy_or_signature_is_refused(
    make_signer: MakeSigner, verifier: Verifier, name: str, where: int, other: str, kind: str
) -> None:
    """One other character anywhere, a part cut off, or one more."""
    base, _, query = url_of(make_signer()).partition("?")
    value = dict(field.split("=") for field in query.split("&"))[name]
    position = where % len(value)
    changes = {"replace": value[:position] + other + value[position + 1 :], "cut": value[:position]}
    changed = changes.get(kind, value + other)
    if changed != value:
        assert refusal(verifier, f"{base}?{query.replace(value, changed)}") == Refusal.ACCESS_DENIED


def test_the_same_policy_by_another_key_is_refused(
    make_signer: MakeSigner, rsa_key: PrivateKey, ec_key: PrivateKey
) -> None:
    """A signature counts for the key that it names."""
    for key in (rsa_key, ec_key):
        stranger = Verifier({"KTEST": key.public_key(), "KOTHER": key.public_key()}, lambda: NOW)
        url = url_of(make_signer()).replace("Key-Pair-Id=KTEST", "Key-Pair-Id=KOTHER")
        if key is not make_signer()._private_key:
            assert refusal(stranger, url) == Refusal.ACCESS_DENIED


def test_several_keys_are_known_at_once(rsa_key: PrivateKey, ec_key: PrivateKey) -> None:
    """While keys are being changed, both open."""
    verifier = Verifier({"KOLD": rsa_key.public_key(), "KNEW": ec_key.public_key()}, lambda: NOW)
    for name, key in {"KOLD": rsa_key, "KNEW": ec_key}.items():
        verifier.check(url_of(CloudFrontSigner(DOMAIN, name, key, clock=lambda: NOW)))


@pytest.mark.parametrize("query", ["", "?", "?a=1", "?Policy=x&Signature=y", "?Key-Pair-Id=", "?key-pair-id=KTEST"])
def test_without_a_key_pair_id_the_key_is_missing(verifier: Verifier, query: str) -> None:
    """An unsigned request is told what it lacks."""
    assert refusal(verifier, f"{DOMAIN}/a{query}") == Refusal.MISSING_KEY


def test_an_unknown_key_is_invalid(make_signer: MakeSigner, clock: Callable[[], float]) -> None:
    """A key that is not, or no longer, trusted."""
    assert refusal(Verifier({}, clock), url_of(make_signer())) == Refusal.INVALID_KEY


@pytest.mark.parametrize("moment", [-3600, -1, 0, 3598, 3599, 3599.999])
def test_before_its_end_a_url_opens(
    make_signer: MakeSigner, verifier: Verifier, clock: Callable[[], float], moment: float
) -> None:
    """Up to the last moment, whatever the time before."""
    url = url_of(make_signer())
    clock.now = NOW + moment  # type: ignore[attr-defined]
    verifier.check(url)


@pytest.mark.parametrize("moment", [3600, 3600.001, 3601, 10**6])
def test_from_its_end_a_url_is_refused(
    make_signer: MakeSigner, verifier: Verifier, clock: Callable[[], float], moment: float
) -> None:
    """The end itself no longer counts."""
    url = url_of(make_signer())
    clock.now = NOW + moment  # type: ignore[attr-defined]
    assert refusal(verifier, url) == Refusal.ACCESS_DENIED


def test_before_its_start_a_url_is_refused(
    make_signer: MakeSigner, verifier: Verifier, clock: Callable[[], float]
) -> None:
    """It opens strictly after its start."""
    starts = datetime.fromtimestamp(NOW + 10, UTC)
    url = make_signer().sign_url("a", starts=starts).url
    clock.now = NOW + 9  # type: ignore[attr-defined]
    assert refusal(verifier, url) == Refusal.ACCESS_DENIED
    clock.now = NOW + 11  # type: ignore[attr-defined]
    verifier.check(url)


def test_a_network_alone_may_read(make_signer: MakeSigner, verifier: Verifier) -> None:
    """Another address, or none, is refused."""
    url = make_signer().sign_url("a", ip="192.0.2.0/24").url
    verifier.check(url, ip="192.0.2.200")
    assert refusal(verifier, url, ip="192.0.3.1") == Refusal.ACCESS_DENIED
    assert refusal(verifier, url, ip=None) == Refusal.ACCESS_DENIED


def test_a_canned_url_opens_itself_alone(private_key: PrivateKey, verifier: Verifier) -> None:
    """Another path, end or query of its own is another policy."""
    url = canned_url(private_key, f"{DOMAIN}/a.nc?v=1")
    verifier.check(url)
    for changed in (
        url.replace("a.nc", "b.nc"),
        url.replace("v=1", "v=2"),
        url.replace("v=1&", ""),
        url.replace(f"Expires={NOW + 60}", f"Expires={NOW + 61}"),
        url.replace("https://", "http://"),
        f"{url}&w=1",
    ):
        assert refusal(verifier, changed) == Refusal.ACCESS_DENIED


def test_a_canned_url_ends(private_key: PrivateKey, verifier: Verifier, clock: Callable[[], float]) -> None:
    """``Expires`` is an end like a policy's."""
    url = canned_url(private_key, f"{DOMAIN}/a.nc")
    clock.now = NOW + 59.9  # type: ignore[attr-defined]
    verifier.check(url)
    clock.now = NOW + 60  # type: ignore[attr-defined]
    assert refusal(verifier, url) == Refusal.ACCESS_DENIED


def test_a_canned_wildcard_opens_no_file(private_key: PrivateKey, verifier: Verifier) -> None:
    """A wildcard signed as canned, as botocore does with ``date_less_than``, is no wildcard."""
    query = canned_url(private_key, f"{DOMAIN}/{PREFIX}/*").partition("?")[2]
    assert refusal(verifier, f"{DOMAIN}/{PREFIX}/a?{query}") == Refusal.ACCESS_DENIED


def test_a_canned_url_that_climbs_is_refused(private_key: PrivateKey, verifier: Verifier) -> None:
    """Even signed exactly so, it does not say what it would open."""
    assert refusal(verifier, canned_url(private_key, f"{DOMAIN}/a/../b")) == Refusal.ACCESS_DENIED


@pytest.mark.parametrize("expires", ["", "-5", "1e12", " 1900000060", "٣", "9" * 40, "1900000060.5"])
def test_an_end_that_is_no_number_is_refused(verifier: Verifier, expires: str) -> None:
    """Only plain digits are an end."""
    assert refusal(verifier, f"{DOMAIN}/a?Expires={expires}&Signature=QUJD&Key-Pair-Id=KTEST") == Refusal.ACCESS_DENIED


def test_own_parameters_may_stand_anywhere(make_signer: MakeSigner, verifier: Verifier) -> None:
    """A client's own query parameters are covered by the final star, before and behind the signature."""
    base, _, query = url_of(make_signer()).partition("?")
    verifier.check(f"{base}?v=1&{query}&w=2")


def test_percent_encoded_values_are_the_same_values(make_signer: MakeSigner, verifier: Verifier) -> None:
    """Some clients encode the tilde."""
    base, _, query = url_of(make_signer()).partition("?")
    verifier.check(f"{base}?{query.replace('~', '%7E').replace('_', '%5F')}")


@pytest.mark.parametrize("name", ["Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm", "Expires"])
def test_doubled_parameters_are_refused(make_signer: MakeSigner, verifier: Verifier, name: str) -> None:
    """No guess is made which of two counts."""
    url = f"{url_of(make_signer())}&{name}=x&{name}=x"
    assert refusal(verifier, url) == Refusal.ACCESS_DENIED


def test_policy_and_end_together_are_refused(make_signer: MakeSigner, verifier: Verifier) -> None:
    """A request is either custom or canned."""
    assert refusal(verifier, f"{url_of(make_signer())}&Expires={NOW + 60}") == Refusal.ACCESS_DENIED


@pytest.mark.parametrize("algorithm", ["SHA256", "SHA512", "MD5", "sha1", "", "none"])
def test_another_hash_than_the_signed_one_is_refused(
    make_signer: MakeSigner, verifier: Verifier, algorithm: str
) -> None:
    """The hash is the URL's word, and the signature must agree with it."""
    assert refusal(verifier, f"{url_of(make_signer())}&Hash-Algorithm={algorithm}") == Refusal.ACCESS_DENIED


def test_a_dropped_hash_is_refused(make_signer: MakeSigner, verifier: Verifier) -> None:
    """Without the parameter a SHA-256 signature is taken for SHA-1."""
    url = url_of(make_signer("SHA256")).removesuffix("&Hash-Algorithm=SHA256")
    assert refusal(verifier, url) == Refusal.ACCESS_DENIED


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b'{"Statement":[]}',
        b'{"Statement":[{"Condition":{"DateLessThan":{"AWS:EpochTime":1900000060}}}]}',
        encode_policy(Policy(f"{DOMAIN}/a", NOW + 60)).replace(b'"Resource"', b'"Resource":"https://x/*","Resource"'),
        encode_policy(Policy(f"{DOMAIN}/a", NOW + 60))[:-2]
        + b","
        + encode_policy(Policy(f"{DOMAIN}/b", NOW + 60))[len('{"Statement":[') :],
    ],
)
def test_a_policy_that_grants_too_much_is_refused_although_signed(
    private_key: PrivateKey, verifier: Verifier, text: bytes
) -> None:
    """No resource, two statements, doubled members."""
    assert refusal(verifier, f"{DOMAIN}/a?{custom_query(private_key, text)}") == Refusal.ACCESS_DENIED


@pytest.mark.parametrize("field", ["Policy", "Signature"])
@pytest.mark.parametrize("value", ["", "%00", "!", "QUJD%0A", "ü", "A"])
def test_junk_is_refused(make_signer: MakeSigner, verifier: Verifier, field: str, value: str) -> None:
    """Values that are not base64 end in a refusal, not in an exception of another kind."""
    base, _, query = url_of(make_signer()).partition("?")
    fields = dict(part.split("=") for part in query.split("&")) | {field: value}
    url = f"{base}?" + "&".join(f"{name}={text}" for name, text in fields.items())
    assert refusal(verifier, url) == Refusal.ACCESS_DENIED


def cookie_of(signer: CloudFrontSigner, prefix: str = PREFIX) -> str:
    return "; ".join(f"{name}={value}" for name, value in signer.sign_cookies(prefix).cookies.items())


@pytest.mark.parametrize("hash_algorithm", ["SHA1", "SHA256"])
def test_cookies_open_their_prefix(make_signer: MakeSigner, verifier: Verifier, hash_algorithm: HashAlgorithm) -> None:
    """A plain URL with the cookies, among others, is as good as a signed one."""
    cookie = f"session=1; {cookie_of(make_signer(hash_algorithm))}; theme=dark"
    verifier.check(f"{DOMAIN}/{PREFIX}/a", cookie=cookie)
    assert refusal(verifier, f"{DOMAIN}/outputs/exec_2/a", cookie=cookie) == Refusal.ACCESS_DENIED


def test_canned_cookies_open_one_url(private_key: PrivateKey, verifier: Verifier) -> None:
    """``CloudFront-Expires`` stands for a canned policy."""
    query = canned_url(private_key, f"{DOMAIN}/a").partition("?")[2]
    cookie = "; ".join(f"CloudFront-{field}" for field in query.split("&"))
    verifier.check(f"{DOMAIN}/a", cookie=cookie)
    assert refusal(verifier, f"{DOMAIN}/b", cookie=cookie) == Refusal.ACCESS_DENIED


def test_a_signed_url_wins_over_cookies(make_signer: MakeSigner, verifier: Verifier) -> None:
    """Of a good URL and bad cookies the URL counts, and of a bad URL and good cookies too."""
    signer = make_signer()
    verifier.check(url_of(signer), cookie=cookie_of(signer, "outputs/exec_2"))
    wrong = url_of(signer, prefix="outputs/exec_2")
    assert refusal(verifier, wrong, cookie=cookie_of(signer)) == Refusal.ACCESS_DENIED


def test_query_and_cookies_are_not_mixed(make_signer: MakeSigner, verifier: Verifier) -> None:
    """One of CloudFront's parameters in the query, and the cookies are not looked at."""
    signer = make_signer()
    base, _, query = url_of(signer).partition("?")
    policy = query.partition("&")[0]
    assert refusal(verifier, f"{base}?{policy}", cookie=cookie_of(signer)) == Refusal.MISSING_KEY


def test_doubled_cookies_are_refused(make_signer: MakeSigner, verifier: Verifier) -> None:
    """No guess is made here either."""
    cookie = cookie_of(make_signer())
    assert refusal(verifier, f"{DOMAIN}/{PREFIX}/a", cookie=f"{cookie}; {cookie}") == Refusal.ACCESS_DENIED


def test_a_refusal_says_why_without_the_signature(make_signer: MakeSigner, verifier: Verifier) -> None:
    """The reason is for a log: no policy and no signature in it."""
    url = url_of(make_signer(), "outputs/exec_2/a")
    with pytest.raises(RefusedError, match="another resource") as caught:
        verifier.check(url)
    chain = f"{caught.value!r} {caught.value.__cause__!r}"
    assert not [field for field in url.partition("?")[2].split("&") if field.partition("=")[2][:20] in chain]


@shared_fixtures
@given(noise=st.text(max_size=60), cookie=st.text(max_size=60))
def test_noise_is_refused(verifier: Verifier, noise: str, cookie: str) -> None:
    """Whatever arrives, the answer is a refusal."""
    refusal(verifier, f"{DOMAIN}/a?{noise}", cookie=cookie)
