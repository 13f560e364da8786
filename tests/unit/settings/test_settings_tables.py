"""Every row of Earth2Studio's and NIXL's tables: by file, as text in a file, and by each of its variables."""

import json
from pathlib import Path

import pytest

KEYS = {"access_key_id": "AKIA", "secret_access_key": "secret"}
CLOUDFRONT = {"cloudfront_domain": "https://d1.example", "cloudfront_key_pair_id": "K1"}
PEM, CA = "key.pem", "ca.pem"

ROWS = [
    # name, variables beside WILDCAST_OBJECT_STORAGE__<NAME>, as text, as a value, what must be set with it
    ("enabled", ["OBJECT_STORAGE_ENABLED"], "true", True, {}),
    ("bucket", ["OBJECT_STORAGE_BUCKET", "AWS_DEFAULT_BUCKET"], "my-bucket", "my-bucket", {}),
    ("region", ["OBJECT_STORAGE_REGION", "AWS_REGION"], "eu-west-1", "eu-west-1", {}),
    ("prefix", ["OBJECT_STORAGE_PREFIX"], "results", "results", {}),
    ("access_key_id", ["OBJECT_STORAGE_ACCESS_KEY_ID"], "AKIA", "AKIA", KEYS),
    ("secret_access_key", ["OBJECT_STORAGE_SECRET_ACCESS_KEY"], "secret", "secret", KEYS),
    ("session_token", ["OBJECT_STORAGE_SESSION_TOKEN"], "token", "token", KEYS),
    ("endpoint_url", ["OBJECT_STORAGE_ENDPOINT_URL", "AWS_ENDPOINT_OVERRIDE"], "http://h:9000", "http://h:9000", {}),
    ("use_transfer_acceleration", ["OBJECT_STORAGE_TRANSFER_ACCELERATION"], "false", False, {}),
    ("max_concurrency", ["OBJECT_STORAGE_MAX_CONCURRENCY"], "16", 16, {}),
    ("multipart_chunksize", ["OBJECT_STORAGE_MULTIPART_CHUNKSIZE"], "16777216", 16_777_216, {}),
    ("use_rust_client", ["OBJECT_STORAGE_USE_RUST_CLIENT"], "false", False, {}),
    ("cloudfront_domain", ["CLOUDFRONT_DOMAIN"], "https://d1.example", "https://d1.example", CLOUDFRONT),
    ("cloudfront_key_pair_id", ["CLOUDFRONT_KEY_PAIR_ID"], "K1", "K1", CLOUDFRONT),
    ("cloudfront_private_key_path", ["CLOUDFRONT_PRIVATE_KEY_PATH"], PEM, PEM, CLOUDFRONT),
    ("signed_url_expires_in", ["OBJECT_STORAGE_SIGNED_URL_EXPIRES_IN"], "60", 60, {}),
    ("scheme", [], "http", "http", {}),
    ("use_virtual_addressing", [], "true", True, {}),
    ("req_checksum", [], "supported", "supported", {}),
    ("ca_bundle", [], CA, CA, {}),
    ("crt_min_limit", [], "10485760", 10_485_760, {}),
]
BY_NAME = {row[0]: row for row in ROWS}


@pytest.fixture
def needed(tmp_path: Path, pem: str):
    """Give what a setting cannot be without, in a directory that has the files that the rows name."""
    (tmp_path / PEM).write_text(pem)
    (tmp_path / CA).write_text("certificates")

    def needed_by(name: str) -> dict[str, object]:
        together = dict(BY_NAME[name][4])
        if together.keys() & CLOUDFRONT.keys():
            together["cloudfront_private_key_path"] = PEM
        return {key: value for key, value in together.items() if key != name}

    return needed_by


def check(loaded, tmp_path: Path, name: str, value: object, place: str) -> None:
    found = getattr(loaded.settings.object_storage, name)
    found = getattr(found, "get_secret_value", lambda: found)()
    expected = tmp_path / str(value) if isinstance(found, Path) else value
    assert (found, type(found)) == (expected, type(expected))
    assert place in loaded.sources[f"object_storage.{name}"]


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("as_text", [True, False])
def test_each_row_is_read_from_the_file(load, needed, tmp_path: Path, name: str, as_text: bool):
    """A value arrives with its own type, also where the file has it as text."""
    _, _, text, value, _ = BY_NAME[name]
    section = {**needed(name), name: text if as_text else value}
    loaded = load(text=json.dumps({"object_storage": section}))
    check(loaded, tmp_path, name, value, "file")


@pytest.mark.parametrize(
    ("name", "variable"),
    [(row[0], variable) for row in ROWS for variable in [f"WILDCAST_OBJECT_STORAGE__{row[0].upper()}", *row[1]]],
)
def test_each_row_is_read_from_its_variables(load, needed, tmp_path: Path, name: str, variable: str):
    """The seed's variable, AWS's own where there is one, and ours all set it."""
    _, _, text, value, _ = BY_NAME[name]
    loaded = load({"object_storage": needed(name)}, {variable: text})
    check(loaded, tmp_path, name, value, variable)
