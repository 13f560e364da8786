"""Keys and signers for the tests of signing."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from wildcast_server.signing.cloudfront import CloudFrontSigner, HashAlgorithm
from wildcast_server.signing.keys import PrivateKey, generate_private_key
from wildcast_server.signing.verify import Verifier

DOMAIN = "https://d111111abcdef8.cloudfront.net"
NOW = 1_900_000_000


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        """Return the time it was set to."""
        return self.now


@pytest.fixture(scope="session")
def rsa_key() -> PrivateKey:
    """Return an RSA key."""
    return generate_private_key()


@pytest.fixture(scope="session")
def ec_key() -> PrivateKey:
    """Return a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def clock() -> Clock:
    """Return a clock at NOW."""
    return Clock()


@pytest.fixture(params=["rsa", "ec"])
def private_key(request: pytest.FixtureRequest, rsa_key: PrivateKey, ec_key: PrivateKey) -> PrivateKey:
    """Return one key of each kind."""
    return rsa_key if request.param == "rsa" else ec_key


MakeSigner = Callable[..., CloudFrontSigner]


@pytest.fixture
def make_signer(private_key: PrivateKey, clock: Clock) -> MakeSigner:
    """Return a factory of signers for DOMAIN with the key id KTEST."""

    def make(hash_algorithm: HashAlgorithm = "SHA1", domain: str = DOMAIN) -> CloudFrontSigner:
        return CloudFrontSigner(domain, "KTEST", private_key, hash_algorithm=hash_algorithm, clock=clock)

    return make


@pytest.fixture
def verifier(private_key: PrivateKey, clock: Clock) -> Verifier:
    """Return a verifier that knows the signer's key."""
    return Verifier({"KTEST": private_key.public_key()}, clock)
