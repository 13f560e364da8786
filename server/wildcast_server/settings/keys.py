"""A look at a private key's PEM, without parsing it: that is the signing room's."""

import re
from pathlib import Path

from wildcast_server.settings.values import read_head

_PRIVATE = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----\s.+\s-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----", re.DOTALL
)


def is_pem(text: str) -> bool:
    """Whether a setting's text is meant to be a PEM, rather than the path of one."""
    return "-----BEGIN" in text


def unescape(text: str) -> str:
    r"""Give a PEM from an environment variable its line ends back: ``\n`` and ``\r`` written out, stray quotes."""
    return text.strip().strip("'\"").replace("\\r", "").replace("\\n", "\n").strip() + "\n"


def check_pem(text: str) -> str:
    """Return a private key's PEM with real line ends.

    Raises
    ------
    ValueError
        If it is no PEM, or one of something else than an unencrypted private key. Nothing of it is repeated.
    """
    pem = unescape(text)
    if "ENCRYPTED" in pem:
        raise ValueError("the private key is encrypted; remove its passphrase with openssl pkey")
    if not _PRIVATE.search(pem):
        raise ValueError("it is not the PEM of a private key, from its BEGIN line to its END line")
    return pem


def check_pem_file(path: Path) -> None:
    """Check that a file holds the PEM of a private key; raises as `check_pem` and `read_head` do."""
    try:
        check_pem(read_head(path).decode())
    except UnicodeDecodeError:
        raise ValueError("the file is not the PEM of a private key; convert it with openssl pkey") from None
