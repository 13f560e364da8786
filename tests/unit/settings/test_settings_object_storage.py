"""Object storage: the store, aliases, acceleration, keys."""

from pathlib import Path

import pytest

from wildcast_server.settings import ObjectStorageSettings, Settings

DOMAIN = {"cloudfront_domain": "d1.example", "cloudfront_key_pair_id": "K1"}


def test_the_defaults_are_the_seeds():
    """Every parameter of Earth2Studio's table with its default; concurrency alone is ours."""
    section = ObjectStorageSettings()
    expected = {
        "enabled": False,
        "bucket": None,
        "region": "us-east-1",
        "prefix": "outputs",
        "access_key_id": None,
        "secret_access_key": None,
        "session_token": None,
        "endpoint_url": None,
        "use_transfer_acceleration": True,
        "max_concurrency": "auto",
        "multipart_chunksize": 8388608,
        "use_rust_client": True,
        "cloudfront_domain": None,
        "cloudfront_key_pair_id": None,
        "cloudfront_private_key_path": None,
        "signed_url_expires_in": 3600,
    }
    assert {name: getattr(section, name) for name in expected} == expected


def test_the_defaults_of_the_other_parameters_are_nixls():
    """Every parameter of NIXL's table with its default."""
    section = ObjectStorageSettings()
    found = (section.scheme, section.use_virtual_addressing, section.req_checksum, section.ca_bundle)
    assert (*found, section.crt_min_limit) == ("https", False, None, None, None)


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ({"store": "s3://b/base/"}, "s3://b/base"),
        ({"store": "gs://b"}, "gs://b"),
        ({"store": "az://c/x"}, "az://c/x"),
        ({"store": "memory://"}, "memory://"),
        ({"store": "file:///srv/objects/"}, "file:///srv/objects"),
        ({"bucket": "b-1"}, "s3://b-1"),
        ({"bucket": "b-1", "store": "s3://b-1"}, "s3://b-1"),
        ({"bucket": "b-1", "store": "s3://b-1/base"}, "s3://b-1/base"),
    ],
)
def test_the_store_is_what_was_named(load, given: dict, uri: str):
    """A URI, or a bucket, or both if they agree."""
    assert load({"object_storage": given}).settings.store_uri == uri


def test_without_a_name_the_store_is_embedded(load, tmp_path: Path):
    """It lies in the data directory, as an absolute URI with its special characters escaped."""
    assert load({"data_dir": "my data"}).settings.store_uri == (tmp_path / "my data" / "objects").as_uri()
    assert "my%20data" in load({"data_dir": "my data"}).settings.store_uri


@pytest.mark.parametrize("store", ["s3://other", "gs://b-1", "file:///srv/b-1"])
def test_store_and_bucket_must_agree(problems, store: str):
    """Two different places are an error that names both origins."""
    found = problems({"object_storage.store": store}, {"OBJECT_STORAGE_BUCKET": "b-1"})
    assert "store and bucket name different places" in found[0]
    assert "argument object_storage.store" in found[0]
    assert "environment OBJECT_STORAGE_BUCKET" in found[0]


ALIASES = [
    ("access_key", "access_key_id", "AK"),
    ("secret_key", "secret_access_key", "SK"),
    ("endpoint_override", "endpoint_url", "http://h:9000"),
    ("crtMinLimit", "crt_min_limit", 10485760),
]
NEEDED = {"access_key": {"secret_key": "SK"}, "secret_key": {"access_key": "AK"}}


@pytest.mark.parametrize(("alias", "name", "value"), ALIASES)
@pytest.mark.parametrize("place", ["argument", "file"])
def test_nixls_spellings_are_read(load, alias: str, name: str, value: object, place: str):
    """An alias in the file or an argument sets our setting."""
    given = {alias: value, **NEEDED.get(alias, {})}
    text = "object_storage:\n" + "".join(f"  {key}: {item}\n" for key, item in given.items())
    loaded = load({"object_storage": given}) if place == "argument" else load(text=text)
    found = getattr(loaded.settings.object_storage, name)
    assert getattr(found, "get_secret_value", lambda: found)() == value
    assert loaded.sources[f"object_storage.{name}"].startswith(place)


@pytest.mark.parametrize(("alias", "name", "value"), ALIASES)
@pytest.mark.parametrize("written", [str, str.upper])
def test_nixls_spellings_are_variables_too(load, alias: str, name: str, value: object, written):
    """The environment takes an alias in any case, since its names have none."""
    given = {alias: value, **NEEDED.get(alias, {})}
    loaded = load(environ={f"WILDCAST_OBJECT_STORAGE__{written(key)}": str(item) for key, item in given.items()})
    found = getattr(loaded.settings.object_storage, name)
    assert getattr(found, "get_secret_value", lambda: found)() == value


@pytest.mark.parametrize(("alias", "name", "value"), ALIASES)
def test_an_alias_that_contradicts_its_name_is_an_error(problems, alias: str, name: str, value: object):
    """Two values for one setting are told, not chosen between."""
    found = problems({"object_storage": {alias: value, name: "other", **NEEDED.get(alias, {})}})
    assert f"{alias} and {name} are one setting with two values" in found[0]


def test_an_alias_with_the_same_value_is_fine(load):
    """Saying the same thing twice is no contradiction."""
    section = load({"object_storage": {"crtMinLimit": 5, "crt_min_limit": 5}}).settings.object_storage
    assert section.crt_min_limit == 5


def test_an_alias_in_a_higher_place_wins(load):
    """The order of places holds whatever the spelling."""
    loaded = load({"object_storage.endpoint_override": "http://a"}, {"OBJECT_STORAGE_ENDPOINT_URL": "http://b"})
    assert loaded.settings.object_storage.endpoint_url == "http://a"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"endpoint_url": "h:9000"}, "https://h:9000"),
        ({"endpoint_url": "h:9000", "scheme": "http"}, "http://h:9000"),
        ({"endpoint_url": "https://h:9000/", "scheme": "http"}, "https://h:9000"),
    ],
)
def test_the_scheme_completes_an_endpoint(given: dict, url: str):
    """An endpoint without scheme gets the one that is set; one with a scheme keeps it."""
    assert ObjectStorageSettings(**given).endpoint_url == url


@pytest.mark.parametrize(("given", "prefix"), [("/a/b/", "a/b"), ("", ""), ("/", "")])
def test_a_prefix_has_no_slashes_around_it(given: str, prefix: str):
    """Keys are joined by one slash, wherever the user put some."""
    assert ObjectStorageSettings(prefix=given).prefix == prefix


@pytest.mark.parametrize(("given", "bound"), [("auto", "auto"), ("16", 16), (1, 1)])
def test_concurrency_is_auto_or_a_bound(given: object, bound: object):
    """A number stays one, also from a variable's text."""
    assert ObjectStorageSettings(max_concurrency=given).max_concurrency == bound


@pytest.mark.parametrize(
    ("given", "on", "why"),
    [
        ({"bucket": "b-1"}, True, "is true"),
        ({"bucket": "b-1", "use_transfer_acceleration": True}, True, "is true"),
        ({"bucket": "b-1", "use_transfer_acceleration": False}, False, "is false"),
        ({"bucket": "b.1.c"}, False, "dot"),
        ({"store": "s3://b.1.c/x"}, False, "dot"),
        ({"bucket": "b-1", "endpoint_url": "http://h"}, False, "endpoint"),
        ({"bucket": "b-1", "endpoint_url": "http://h", "use_transfer_acceleration": True}, False, "endpoint"),
        ({"bucket": "b.1.c", "endpoint_url": "http://h", "use_transfer_acceleration": True}, False, "endpoint"),
        ({"store": "gs://b-1"}, False, "not Amazon S3"),
        ({}, False, "not Amazon S3"),
    ],
)
def test_acceleration_is_on_where_it_can_be(given: dict, on: bool, why: str):
    """The default means: wherever possible; the reason is told."""
    acceleration = ObjectStorageSettings(**given).acceleration
    assert acceleration.on is on
    assert why in acceleration.why


def test_acceleration_that_was_asked_for_and_cannot_be_is_refused(problems):
    """Whoever sets it together with a dotted bucket is told."""
    found = problems({"object_storage.bucket": "b.1.c"}, {"OBJECT_STORAGE_TRANSFER_ACCELERATION": "true"})
    assert "dot in its name" in found[0]
    assert "environment OBJECT_STORAGE_TRANSFER_ACCELERATION" in found[0]


@pytest.mark.parametrize(
    "domain", ["d1.example", "d1.example/", "https://d1.example", "https://d1.example/", "HTTPS://d1.example"]
)
def test_a_domain_comes_with_or_without_scheme_and_slash(load, domain: str, pem: str):
    """It becomes the base of URLs."""
    given = {**DOMAIN, "cloudfront_domain": domain, "cloudfront_private_key": pem}
    assert load({"object_storage": given}).settings.object_storage.cloudfront_domain == "https://d1.example"


def test_a_domains_own_scheme_is_kept(load, pem: str):
    """An edge on this machine speaks http."""
    given = {**DOMAIN, "cloudfront_domain": "http://127.0.0.1:8001", "cloudfront_private_key": pem}
    assert load({"object_storage": given}).settings.object_storage.cloudfront_domain == "http://127.0.0.1:8001"


PARTS = {"cloudfront_domain": "d1.example", "cloudfront_key_pair_id": "K1", "cloudfront_private_key_path": "key.pem"}


@pytest.mark.parametrize("given", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_half_of_cloudfront_is_refused(problems, tmp_path: Path, pem: str, given: tuple[int, ...]):
    """What is missing is named."""
    (tmp_path / "key.pem").write_text(pem)
    names = [list(PARTS)[index] for index in given]
    found = problems({"object_storage": {name: PARTS[name] for name in names}})
    assert "half configured" in found[0]
    assert all(f" {name} " in found[0] for name in PARTS if name not in names)


@pytest.mark.parametrize("given", ["access_key_id", "secret_access_key"])
def test_half_of_the_credentials_is_refused(problems, given: str):
    """A key without its other half is told."""
    assert f"{given} is set without" in problems({f"object_storage.{given}": "x"})[0]


@pytest.mark.parametrize("name", ["cloudfront_private_key", "cloudfront_private_key_path"])
@pytest.mark.parametrize("form", ["inline", "escaped", "quoted", "path"])
def test_a_private_key_comes_in_any_form_under_either_name(load, tmp_path: Path, pem: str, name: str, form: str):
    r"""A PEM inline, with \n escapes, in quotes, or as a path: either setting takes either."""
    (tmp_path / "key.pem").write_text(pem)
    escaped = pem.replace("\n", "\\n")
    value = {"inline": pem, "escaped": escaped, "quoted": f'"{escaped}"', "path": "key.pem"}[form]
    key = load({"object_storage": {**DOMAIN, name: value}}).settings.object_storage.signing_key
    assert key is not None
    assert key.get_secret_value() == (str(tmp_path / "key.pem") if form == "path" else pem)


def test_the_key_of_a_higher_place_wins_in_either_form(load, tmp_path: Path, pem: str):
    """A path in the file gives way to a PEM in the environment."""
    (tmp_path / "key.pem").write_text(pem)
    loaded = load(
        environ={"WILDCAST_OBJECT_STORAGE__CLOUDFRONT_PRIVATE_KEY": pem},
        text="object_storage:\n  cloudfront_domain: d\n  cloudfront_key_pair_id: K\n"
        "  cloudfront_private_key_path: key.pem\n",
    )
    assert loaded.settings.object_storage.cloudfront_private_key_path is None
    assert loaded.sources["object_storage.cloudfront_private_key_path"] == "default"


def test_both_forms_of_a_key_in_one_place_are_refused(problems, tmp_path: Path, pem: str):
    """It would not be known which one signs."""
    (tmp_path / "key.pem").write_text(pem)
    given = {**DOMAIN, "cloudfront_private_key": pem, "cloudfront_private_key_path": "key.pem"}
    assert "are both set" in problems({"object_storage": given})[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----\n", "not the PEM of a private key"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n", "not the PEM of a private key"),
        ("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", "not the PEM of a private key"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMI\n-----END ENCRYPTED PRIVATE KEY-----\n", "is encrypted"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nX: 4,ENCRYPTED\n\nMI\n-----END RSA PRIVATE KEY-----\n",
            "is encrypted",
        ),
    ],
)
@pytest.mark.parametrize("form", ["inline", "path"])
def test_a_malformed_key_stops_the_start(problems, tmp_path: Path, text: str, reason: str, form: str):
    """It is noticed before anything runs, not when the first URL is signed."""
    (tmp_path / "key.pem").write_text(text)
    value = "key.pem" if form == "path" else text
    found = problems({"object_storage": {**DOMAIN, "cloudfront_private_key_path": value}})
    assert len(found) == 1
    assert reason in found[0]


@pytest.mark.parametrize(("content", "reason"), [(b"\x30\x82\xff\x00", "convert it"), (b"", "not the PEM")])
def test_a_key_file_of_another_kind_is_refused(problems, tmp_path: Path, content: bytes, reason: str):
    """A DER or empty file is no PEM."""
    (tmp_path / "key.der").write_bytes(content)
    assert reason in problems({"object_storage": {**DOMAIN, "cloudfront_private_key_path": "key.der"}})[0]


@pytest.mark.parametrize("path", ["missing.pem", "."])
def test_an_unreadable_key_stops_the_start(problems, path: str):
    """The reason of the operating system is passed on."""
    found = problems({"object_storage": {**DOMAIN, "cloudfront_private_key_path": path}})
    assert "the file cannot be read (" in found[0]


def test_the_database_and_outputs_lie_in_the_data_directory():
    """What is not set lies below data_dir, as absolute paths."""
    settings = Settings(data_dir=Path("/srv/d"))
    assert settings.database_url.get_secret_value() == "sqlite:////srv/d/wildcast.sqlite"
    assert settings.output_dir == Path("/srv/d/outputs")


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:1"), ("0.0.0.0", "http://127.0.0.1:1"), ("::1", "http://[::1]:1")],  # noqa: S104 - a case
)
def test_a_server_is_reached_where_it_listens(host: str, url: str):
    """Without a public URL it is host and port, as this machine reaches them."""
    assert Settings.model_validate({"edge": {"host": host, "port": 1}}).edge.url == url
    assert Settings.model_validate({"api": {"host": host, "port": 1}}).api.url == url
