"""Signing keys: read, made, written, and named."""

import base64
import hashlib
import os
import re
import secrets
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from wildcast_server.errors import InvalidKeyPairError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
"""RSA of 2,048 bits, or ECDSA on P-256: the kinds that CloudFront takes."""

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

RSA_BITS = 2048
_MAX_PEM_BYTES = 65_536
_BEGIN = "-----BEGIN "


def load_private_key(text_or_path: str) -> PrivateKey:
    r"""Read a private key from a PEM, a PEM with ``\n`` in place of line ends, or the path of a PEM file.

    Raises
    ------
    InvalidKeyPairError
        If it is missing, unreadable, malformed, encrypted, or neither RSA of 2,048 bits nor ECDSA on P-256.
        The message never repeats what might be part of a key.
    """
    pem, source = _pem_of(text_or_path, "private")
    if _BEGIN not in pem:
        raise InvalidKeyPairError(f"{source} is not in PEM form; convert it with: openssl pkey -in KEY -out KEY.pem")
    return _of_usable_kind(_parse(pem, source), source)


def load_public_key(text_or_path: str) -> PublicKey:
    r"""Read a public key from a PEM, a PEM with ``\n`` in place of line ends, or the path of a PEM file.

    Raises
    ------
    InvalidKeyPairError
        If it is missing, unreadable, malformed, or neither RSA of 2,048 bits nor ECDSA on P-256.
    """
    pem, source = _pem_of(text_or_path, "public")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKeyPairError(f"{source} is not a well-formed PEM public key") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size == RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise InvalidKeyPairError(f"{source} is neither RSA of {RSA_BITS} bits nor ECDSA on P-256, as CloudFront's are")


def _pem_of(text_or_path: str, kind: str) -> tuple[str, str]:
    """Return a key's PEM, and what to call it in a sentence."""
    if _BEGIN in text_or_path:
        return text_or_path.replace("\\n", "\n"), f"the {kind} key"
    return _read(text_or_path, kind), f"the {kind} key in {text_or_path}"


def _read(path: str, kind: str) -> str:
    # What is meant as a key but lacks its first line arrives here as a path, and must not be shown as one.
    if not path or re.search(r"PRIVATE|BEGIN|\\n|[\x00-\x1f]|^[A-Za-z0-9+/=]{64,}$", path):
        raise InvalidKeyPairError(f"the {kind} key is neither a PEM nor the path of a PEM file")
    try:
        with Path(path).expanduser().open("rb") as file:
            return file.read(_MAX_PEM_BYTES).decode("latin-1")
    except (OSError, RuntimeError) as error:  # RuntimeError: a home directory that expanduser cannot find
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidKeyPairError(f"the {kind} key in {path} cannot be read: {reason}") from None


def _parse(pem: str, source: str) -> object:
    try:
        # That its factors are primes is not proved: it would take 50 ms of every start.
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
        if isinstance(key, rsa.RSAPrivateKey):
            _check_numbers(key.private_numbers())
    except TypeError:
        raise InvalidKeyPairError(
            f"{source} is encrypted; decrypt it with: openssl pkey -in KEY -out DECRYPTED"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKeyPairError(f"{source} is not a well-formed PEM private key") from None
    return key


def _check_numbers(key: rsa.RSAPrivateNumbers) -> None:
    """Hold that a key's numbers belong together (RFC 8017, section 3.2); raises `ValueError` if one was damaged."""
    p, q, d, public = key.p, key.q, key.d, key.public_numbers
    fits = (
        p * q == public.n
        and (public.e * d - 1) % (p - 1) == 0
        and (public.e * d - 1) % (q - 1) == 0
        and key.dmp1 == d % (p - 1)
        and key.dmq1 == d % (q - 1)
        and key.iqmp * q % p == 1
    )
    if not fits:
        raise ValueError


def _of_usable_kind(key: object, source: str) -> PrivateKey:
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size == RSA_BITS:
            return key
        found = f"RSA of {key.key_size} bits"
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        if isinstance(key.curve, ec.SECP256R1):
            return key
        found = f"ECDSA on {key.curve.name}"
    else:
        found = type(key).__name__.removesuffix("PrivateKey") or "unknown"
    raise InvalidKeyPairError(f"{source} is {found}; CloudFront takes RSA of {RSA_BITS} bits or ECDSA on P-256")


def generate_private_key() -> rsa.RSAPrivateKey:
    """Make a new RSA key of 2,048 bits."""
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def write_private_key(path: Path, key: PrivateKey) -> None:
    """Write `key` as an unencrypted PEM file that only its owner may read (mode 0600).

    The file appears whole or not at all.

    Raises
    ------
    FileExistsError
        If there is a file already; it is left as it is.
    """
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)  # unlike a rename, this never replaces a key that another process has just written
    finally:
        partial.unlink()


def public_key_pem(key: PrivateKey | PublicKey) -> str:
    """Write the public half as PEM, as it is uploaded to CloudFront."""
    public = key if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) else key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def key_id(public_key: PublicKey) -> str:
    """Name a key for an edge of our own: ``K`` and 13 characters of base32 from the hash of its public half."""
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "K" + base64.b32encode(hashlib.sha256(der).digest()).decode("ascii")[:13]
