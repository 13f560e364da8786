"""Signing keys: read, refused, written, named."""

import os
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)

from wildcast_server.errors import InvalidKeyPairError
from wildcast_server.signing.keys import (
    PrivateKey,
    generate_private_key,
    key_id,
    load_private_key,
    public_key_pem,
    write_private_key,
)


def pem_of(key: object, form: PrivateFormat = PrivateFormat.PKCS8, password: bytes | None = None) -> str:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, encryption).decode()  # type: ignore[attr-defined]


def body_of(pem: str) -> list[str]:
    return [line for line in pem.splitlines() if line and "-----" not in line]


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_pem_is_read_inline(private_key: PrivateKey, form: PrivateFormat) -> None:
    """PKCS #8 and the older forms of both kinds of key are read."""
    assert public_key_pem(load_private_key(pem_of(private_key, form))) == public_key_pem(private_key)


def test_a_pem_is_read_with_escaped_line_ends(rsa_key: PrivateKey) -> None:
    r"""An environment variable may have ``\n`` for a line's end."""
    text = pem_of(rsa_key).replace("\n", "\\n")
    assert public_key_pem(load_private_key(text)) == public_key_pem(rsa_key)


def test_a_pem_is_read_from_a_file(rsa_key: PrivateKey, tmp_path: Path) -> None:
    """A path leads to the key."""
    (tmp_path / "key.pem").write_text(pem_of(rsa_key))
    assert public_key_pem(load_private_key(str(tmp_path / "key.pem"))) == public_key_pem(rsa_key)


def test_a_path_may_begin_at_home(rsa_key: PrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde is the home directory."""
    (tmp_path / "key.pem").write_text(pem_of(rsa_key))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert public_key_pem(load_private_key("~/key.pem")) == public_key_pem(rsa_key)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The sentence says which file, and why."""
    with pytest.raises(InvalidKeyPairError, match=r"absent\.pem cannot be read: No such file"):
        load_private_key(str(tmp_path / "absent.pem"))


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """A directory is no key file."""
    with pytest.raises(InvalidKeyPairError, match="cannot be read"):
        load_private_key(str(tmp_path))


def test_a_file_in_binary_form_is_refused(rsa_key: PrivateKey, tmp_path: Path) -> None:
    """DER is refused with the command that converts it."""
    der = rsa_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.der").write_bytes(der)
    with pytest.raises(InvalidKeyPairError, match="not in PEM form"):
        load_private_key(str(tmp_path / "key.der"))


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (rsa.generate_private_key(65537, 3072), "RSA of 3072 bits"),
        (ec.generate_private_key(ec.SECP384R1()), "ECDSA on secp384r1"),
        (ec.generate_private_key(ec.SECP256K1()), "ECDSA on secp256k1"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (dsa.generate_private_key(2048), "DSA"),
    ],
    ids=["rsa-3072", "p-384", "p-256k1", "ed25519", "dsa"],
)
def test_keys_that_cloudfront_does_not_take_are_refused(key: object, sentence: str) -> None:
    """Another size, curve or kind is named, with what would do."""
    with pytest.raises(InvalidKeyPairError, match=f"{sentence}; CloudFront takes RSA of 2048 bits or ECDSA on P-256"):
        load_private_key(pem_of(key))


def test_an_encrypted_key_is_refused(rsa_key: PrivateKey) -> None:
    """The sentence says how to decrypt it."""
    with pytest.raises(InvalidKeyPairError, match="encrypted; decrypt it with"):
        load_private_key(pem_of(rsa_key, password=b"secret"))


def test_a_public_key_is_refused(rsa_key: PrivateKey) -> None:
    """The public half cannot sign."""
    with pytest.raises(InvalidKeyPairError, match="not a well-formed PEM private key"):
        load_private_key(public_key_pem(rsa_key))


def damaged(pem: str) -> list[str]:
    lines = pem.strip().splitlines()
    return [
        "\n".join(lines[:-3] + lines[-1:]),
        "\n".join([lines[0], *lines[2:]]),
        "\n".join(lines[1:]),
        "\n".join(lines[1:-1]),
        "".join(lines[1:-1]),
        "".join(lines[1:-1])[:80],
        "\\n".join(lines[1:]),
        pem[1:],
        f"{lines[0]}\n!!!!\n{lines[-1]}",
        pem.replace("PRIVATE", "SECRET"),
        "",
    ]


@pytest.mark.parametrize("damaged", ["d", "dmp1", "dmq1", "iqmp"])
def test_a_key_whose_numbers_do_not_belong_together_is_refused(rsa_key: rsa.RSAPrivateKey, damaged: str) -> None:
    """Even if it would still sign: OpenSSL makes up for some of them, slowly."""
    numbers = rsa_key.private_numbers()
    names = ("p", "q", "d", "dmp1", "dmq1", "iqmp")
    values = [getattr(numbers, name) + 2 * (name == damaged) for name in names]
    key = rsa.RSAPrivateNumbers(*values, numbers.public_numbers).private_key(unsafe_skip_rsa_key_validation=True)
    with pytest.raises(InvalidKeyPairError, match="not a well-formed PEM private key"):
        load_private_key(pem_of(key))


def test_no_refusal_shows_key_material(rsa_key: PrivateKey) -> None:
    """However a key is mutilated, no part of it is in the error or behind it."""
    for text in damaged(pem_of(rsa_key)):
        with pytest.raises(InvalidKeyPairError) as caught:
            load_private_key(text)
        shown = repr(caught.value) + repr(caught.value.__cause__) + repr(getattr(caught.value, "filename", ""))
        assert not [line for line in body_of(pem_of(rsa_key)) if line[:16] in shown]
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_written_key_is_its_owners_alone(rsa_key: PrivateKey, tmp_path: Path) -> None:
    """The file has mode 0600 whatever the umask, and is the key."""
    previous = os.umask(0)
    try:
        write_private_key(tmp_path / "key.pem", rsa_key)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert public_key_pem(load_private_key(str(tmp_path / "key.pem"))) == public_key_pem(rsa_key)
    assert [file.name for file in tmp_path.iterdir()] == ["key.pem"]


def test_a_key_is_never_written_over(rsa_key: PrivateKey, tmp_path: Path) -> None:
    """An existing file stays, and nothing is left beside it."""
    (tmp_path / "key.pem").write_text("mine")
    with pytest.raises(FileExistsError):
        write_private_key(tmp_path / "key.pem", rsa_key)
    assert (tmp_path / "key.pem").read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["key.pem"]


def test_one_of_many_writers_wins(rsa_key: PrivateKey, tmp_path: Path) -> None:
    """Of eight processes that start at once, one writes the key and the others learn it."""
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def write() -> None:
        barrier.wait()
        try:
            write_private_key(tmp_path / "key.pem", rsa_key)
            outcomes.append("written")
        except FileExistsError:
            outcomes.append("exists")

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["exists"] * 7 + ["written"]


def test_a_generated_key_is_of_the_kind_that_is_loaded() -> None:
    """A new key passes its own checks."""
    assert load_private_key(pem_of(generate_private_key())).key_size == 2048


def test_a_key_has_a_stable_name(private_key: PrivateKey) -> None:
    """The id looks like CloudFront's and depends on the public half alone."""
    reloaded = load_pem_public_key(public_key_pem(private_key).encode())
    name = key_id(private_key.public_key())
    assert isinstance(reloaded, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    assert name == key_id(reloaded)
    assert len(name) == 14
    assert name[0] == "K"
    assert name.isalnum()
    assert name.isupper()


def test_different_keys_have_different_names(rsa_key: PrivateKey, ec_key: PrivateKey) -> None:
    """The id tells keys apart."""
    assert key_id(rsa_key.public_key()) != key_id(ec_key.public_key())


def test_the_public_half_is_the_same_from_either(rsa_key: PrivateKey) -> None:
    """The PEM may be asked of the private or the public key."""
    assert public_key_pem(rsa_key) == public_key_pem(rsa_key.public_key())
    assert public_key_pem(rsa_key).startswith("-----BEGIN PUBLIC KEY-----\n")
