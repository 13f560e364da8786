"""What ``wildcast login`` remembers: the server that is meant where none is named, and the tokens, by server.

It lies in ``wildcast/config.json`` below ``XDG_CONFIG_HOME``, or ``~/.config``, and only its owner may read it: a file
that others can read is refused rather than used, because the tokens in it may be known already.
"""

import contextlib
import os
import secrets
import stat
from pathlib import Path

import msgspec

from wildcast._address import checked_token, checked_url, identity, is_same
from wildcast._errors import ConfigError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_HAS_MODES = os.name == "posix"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered.

    Parameters
    ----------
    server
        The address that is meant where none is given.
    tokens
        By the address of the server that each is for.
    """

    server: str | None = None
    tokens: dict[str, str] = {}

    def __repr__(self) -> str:
        """Show which servers have a token, and none of the tokens."""
        return f"Config(server={self.server!r}, tokens for {sorted(self.tokens)})"

    def token_for(self, url: str) -> str | None:
        """Return the token for a server; None if there is none for exactly this one."""
        return self.tokens.get(identity(url))


def config_path() -> Path | None:
    """Return where the configuration lies; None where this user has no home."""
    # The XDG Base Directory Specification: a path that is not absolute is to be ignored.
    root = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not root.is_absolute():
        try:
            root = Path.home() / ".config"
        except RuntimeError:
            return None
    return root / "wildcast" / "config.json"


def load() -> Config:
    """Return what is remembered; an empty configuration if there is no file.

    Raises
    ------
    ConfigError
        If others can read the file, or it cannot be understood.
    """
    path = config_path()
    try:
        if path is None:
            return Config()
        with path.open("rb") as file:
            _check_private(path, os.fstat(file.fileno()).st_mode)
            return msgspec.json.decode(file.read(), type=Config)
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); make it yours, or remove it.") from error
    except msgspec.DecodeError:
        # Without its cause, which may quote what is in it.
        raise ConfigError(f"{path} cannot be understood; remove it, and log in again with `wildcast login`.") from None


def _check_private(path: Path, mode: int) -> None:
    if _HAS_MODES and mode & _OTHERS:
        raise ConfigError(
            f"{path} can be read by others than you, so it is not used; run `chmod 600 {path}`, "
            "and get new tokens if others had a chance to read them."
        )


def save_login(url: str, token: str | None) -> Path:
    """Remember a server as the one that is meant where none is named, and the token for it.

    Parameters
    ----------
    url
        Its address.
    token
        For this server alone; None if it wants none.

    Returns
    -------
    Path
        Where it is remembered.

    Raises
    ------
    InvalidUrlError, ValueError
        If it is no address, or no header can carry the token.
    ConfigError
        If what is there cannot be used, or nothing can be written there.
    """
    server, key = checked_url(url), identity(url)
    known = load()
    others = {name: kept for name, kept in known.tokens.items() if name != key}
    return _save(Config(server=server, tokens={**others, **({key: checked_token(token)} if token else {})}))


def forget(url: str) -> bool:
    """Forget a server, its token and that it is the one that is meant; whether anything was known of it."""
    known, key = load(), identity(url)
    is_default = known.server is not None and is_same(known.server, url)
    if key not in known.tokens and not is_default:
        return False
    others = {name: kept for name, kept in known.tokens.items() if name != key}
    _save(Config(server=None if is_default else known.server, tokens=others))
    return True


def _save(config: Config) -> Path:
    path = config_path()
    if path is None:
        raise ConfigError("This user has no home to keep a configuration in; set XDG_CONFIG_HOME to a directory.")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, msgspec.json.format(msgspec.json.encode(config), indent=2))
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}); set XDG_CONFIG_HOME elsewhere.") from error
    return path


def _write(path: Path, body: bytes) -> None:
    """Write a file that is private from its first byte on, beside its place, and put it there whole."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
