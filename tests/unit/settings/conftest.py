"""Loading settings in an empty directory, with an environment of the test's own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from wildcast_server.errors import SettingsError
from wildcast_server.settings import LoadedSettings, load_settings

Load = Callable[..., LoadedSettings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load from arguments, environment and the text of a config.yaml; nothing of the real environment gets in."""

    def load_here(
        arguments: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        text: str | None = None,
        config_file: Path | None = None,
    ) -> LoadedSettings:
        if text is not None:
            (tmp_path / "config.yaml").write_text(text)
        return load_settings(arguments, environ=environ or {}, config_file=config_file, cwd=tmp_path)

    return load_here


@pytest.fixture
def problems(load: Load) -> Callable[..., list[str]]:
    """Load what cannot be loaded; return the sentences."""

    def refuse(*args: Any, **keywords: Any) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            load(*args, **keywords)
        # Neither cause nor context may bring along what the message keeps back.
        assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, OSError | UnicodeDecodeError)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        return str(caught.value).splitlines()

    return refuse


@pytest.fixture(scope="session")
def pem() -> str:
    """Make a private key."""
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )
