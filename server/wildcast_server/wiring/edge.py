"""Building the edge of our own."""

from starlette.types import ASGIApp

from wildcast_server.edge.app import create_edge
from wildcast_server.errors import InvalidKeyPairError, SettingsError
from wildcast_server.settings import Settings
from wildcast_server.signing import keys
from wildcast_server.signing.verify import Verifier
from wildcast_server.store import ObjectStore
from wildcast_server.wiring.publishing import KeyPair


def has_own_edge(settings: Settings) -> bool:
    """Whether results are read through our own edge: object storage is on, and no CloudFront distribution is named."""
    storage = settings.object_storage
    return storage.enabled and settings.edge.enabled and not storage.has_cloudfront


def build_edge(settings: Settings, store: ObjectStore, key_pair: KeyPair, edge_url: str) -> ASGIApp:
    """Build the edge that accepts what `key_pair`, or one of the configured public keys, signed for `edge_url`.

    Raises
    ------
    SettingsError
        If a configured key cannot be used.
    """
    trusted = {name: _public_key(name, text) for name, text in settings.edge.public_keys.items()}
    verifier = Verifier({**trusted, key_pair.id: key_pair.private_key.public_key()})
    return create_edge(store, verifier, public_url=edge_url, cors_origins=settings.edge.cors_origins)


def _public_key(name: str, text: str) -> keys.PublicKey:
    try:
        return keys.load_public_key(text)
    except InvalidKeyPairError as error:
        raise SettingsError(f"edge.public_keys: {name} cannot be used: {error}") from error
