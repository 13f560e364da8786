"""Where a setting's value comes from when several places name it."""

from pathlib import Path

import pytest

from wildcast_server.settings import Settings, load_settings
from wildcast_server.settings.sources import SEED_VARIABLES, variable
from wildcast_server.settings.tree import LEAVES

LAYERS = [
    ("argument object_storage.region", {"arguments": {"object_storage.region": "a-1"}}),
    ("environment OBJECT_STORAGE_REGION", {"environ": {"OBJECT_STORAGE_REGION": "b-1"}}),
    ("file {}/config.yaml", {"text": "object_storage:\n  region: c-1\n"}),
    ("AWS variable AWS_REGION", {"environ": {"AWS_REGION": "d-1"}}),
    ("AWS variable AWS_DEFAULT_REGION", {"environ": {"AWS_DEFAULT_REGION": "e-1"}}),
]


@pytest.mark.parametrize("first", range(len(LAYERS)))
def test_the_highest_place_wins(load, tmp_path: Path, first: int):
    """Arguments over environment over file over AWS variables; the source says which it was."""
    given: dict[str, dict] = {}
    for _, layer in LAYERS[first:]:
        for kind, value in layer.items():
            given[kind] = {**given.get(kind, {}), **value} if isinstance(value, dict) else value
    loaded = load(**given)
    assert loaded.settings.object_storage.region == f"{'abcde'[first]}-1"
    assert loaded.sources["object_storage.region"] == LAYERS[first][0].format(tmp_path)


def test_nothing_given_is_the_default(load):
    """Every setting has a source, and without any place it is the default."""
    loaded = load()
    assert set(loaded.sources) == set(LEAVES)
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.settings.object_storage.region == "us-east-1"


def test_the_process_environment_and_directory_are_read_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without arguments the settings are those of the process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WILDCAST_API__PORT", "9001")
    (tmp_path / "config.yaml").write_text("edge:\n  port: 9002\n")
    settings = load_settings().settings
    assert (settings.api.port, settings.edge.port) == (9001, 9002)


@pytest.mark.parametrize("name", LEAVES)
def test_every_setting_has_a_variable(load, name: str, pem: str, tmp_path: Path):
    """Each setting can be given in the environment, and its source names the variable."""
    (tmp_path / "key.pem").write_text(pem)
    value = VALUES.get(name, "7")
    others = {"CLOUDFRONT_DOMAIN": "x.example", "CLOUDFRONT_KEY_PAIR_ID": "K", "CLOUDFRONT_PRIVATE_KEY_PATH": "key.pem"}
    needed = {key: text for key, text in others.items() if "cloudfront_" in name and not name.endswith("_key")}
    if name.endswith("cloudfront_private_key"):
        value, needed = pem, {key: text for key, text in others.items() if not key.endswith("PATH")}
    needed |= NEEDED.get(name, {})
    assert load(environ={**needed, variable(name): value}).sources[name] == f"environment {variable(name)}"


VALUES = {
    "log.level": "debug",
    "log.format": "json",
    "database.url": "sqlite://",
    "api.public_url": "http://a.example",
    "edge.public_url": "http://a.example",
    "edge.enabled": "no",
    "edge.cors_origins": "http://a.example",
    "edge.public_keys": '{"K1": "key.pem"}',
    "workflows.config": "{}",
    "workflows.limits": '{"forecast": {"max_queued": 2}}',
    "workflows.timeouts": '{"forecast": 60}',
    "webhooks.allowed_networks": "10.0.0.0/8, fd00::/8",
    "results.orphans_after_seconds": "7200",
    "results.keep_local_output": "yes",
    "results.publish_live": "no",
    "object_storage.enabled": "yes",
    "object_storage.store": "memory://",
    "object_storage.bucket": "a-bucket",
    "object_storage.scheme": "http",
    "object_storage.endpoint_url": "http://a.example",
    "object_storage.use_virtual_addressing": "true",
    "object_storage.ca_bundle": "key.pem",
    "object_storage.proxy_url": "http://u:p@a.example",
    "object_storage.req_checksum": "required",
    "object_storage.use_transfer_acceleration": "false",
    "object_storage.multipart_chunksize": str(6 * 1024 * 1024),
    "object_storage.use_rust_client": "false",
    "object_storage.sse": "AES256",
    "object_storage.storage_class": "STANDARD_IA",
    "object_storage.tags": '{"a": "b"}',
    "object_storage.cloudfront_domain": "x.example",
    "object_storage.cloudfront_private_key_path": "key.pem",
    "object_storage.cloudfront_distribution_id": "E1",
    "object_storage.cloudfront_hash_algorithm": "SHA256",
}

NEEDED = {
    "object_storage.access_key_id": {"OBJECT_STORAGE_SECRET_ACCESS_KEY": "s"},
    "object_storage.secret_access_key": {"OBJECT_STORAGE_ACCESS_KEY_ID": "a"},
    "object_storage.session_token": {"OBJECT_STORAGE_SECRET_ACCESS_KEY": "s", "OBJECT_STORAGE_ACCESS_KEY_ID": "a"},
    "object_storage.sse_kms_key_id": {"WILDCAST_OBJECT_STORAGE__SSE": "aws:kms"},
}


def test_the_seeds_variables_keep_their_names():
    """Users of Earth2Studio's object storage change nothing."""
    names = """OBJECT_STORAGE_ENABLED OBJECT_STORAGE_BUCKET OBJECT_STORAGE_REGION OBJECT_STORAGE_PREFIX
        OBJECT_STORAGE_ACCESS_KEY_ID OBJECT_STORAGE_SECRET_ACCESS_KEY OBJECT_STORAGE_SESSION_TOKEN
        OBJECT_STORAGE_ENDPOINT_URL OBJECT_STORAGE_TRANSFER_ACCELERATION OBJECT_STORAGE_MAX_CONCURRENCY
        OBJECT_STORAGE_MULTIPART_CHUNKSIZE OBJECT_STORAGE_USE_RUST_CLIENT CLOUDFRONT_DOMAIN CLOUDFRONT_KEY_PAIR_ID
        CLOUDFRONT_PRIVATE_KEY_PATH OBJECT_STORAGE_SIGNED_URL_EXPIRES_IN WORKFLOW_DIR"""
    assert set(SEED_VARIABLES) - {"CLOUDFRONT_PRIVATE_KEY"} == set(names.split())


def test_variables_that_are_no_settings_are_listed(load):
    """A misspelt name is not passed over in silence; the clients' own and other programs' are."""
    names = [
        "OBJECT_STORAGE_BUKET",
        "WILDCAST_PORT",
        "CLOUDFRONT_KEY",
        "WILDCAST_URL",
        "WILDCAST_TOKEN",
        "PATH",
        "AWS_X",
    ]
    loaded = load(environ=dict.fromkeys(names, "x") | {"OBJECT_STORAGE_BUCKET": "a-bucket"})
    assert loaded.unused == ("CLOUDFRONT_KEY", "OBJECT_STORAGE_BUKET", "WILDCAST_PORT")


def test_a_seeds_variable_has_our_name_as_well(load):
    """The uniform name works for every setting."""
    loaded = load(environ={"WILDCAST_OBJECT_STORAGE__BUCKET": "a-bucket"})
    assert loaded.settings.object_storage.bucket == "a-bucket"
    assert loaded.sources["object_storage.bucket"] == "environment WILDCAST_OBJECT_STORAGE__BUCKET"


def test_two_variables_of_one_setting_must_agree(problems, load):
    """Different values under both names are an error; the same value is none."""
    names = ("OBJECT_STORAGE_BUCKET", "WILDCAST_OBJECT_STORAGE__BUCKET")
    assert names[0] in problems(environ=dict(zip(names, ("one", "two"), strict=True)))[0]
    assert load(environ=dict.fromkeys(names, "one")).settings.object_storage.bucket == "one"


@pytest.mark.parametrize("name", ["WILDCAST_CONFIG", "OBJECT_STORAGE_BUCKET", "WILDCAST_API__PORT", "AWS_REGION"])
def test_an_empty_variable_is_not_set(load, name: str):
    """Compose files pass variables on that nobody has set."""
    assert set(load(environ={name: ""}).sources.values()) == {"default"}


@pytest.mark.parametrize("name", ["WILDCAST_URL", "WILDCAST_TOKEN", "WILDCAST_API", "OBJECT_STORAGE_OTHER", "HOME"])
def test_other_variables_are_left_alone(load, name: str):
    """The client's variables, and those of other programs, are no settings."""
    assert set(load(environ={name: "x"}).sources.values()) == {"default"}


def test_null_in_the_file_is_not_set(load):
    """A null, and a section without anything in it, leave the word to the places below."""
    loaded = load(environ={"AWS_DEFAULT_BUCKET": "a-bucket"}, text="object_storage:\n  bucket: null\napi:\n")
    assert loaded.sources["object_storage.bucket"] == "AWS variable AWS_DEFAULT_BUCKET"


def test_an_argument_of_none_is_not_given(load):
    """A command line passes on options that nobody has used."""
    assert load({"api.port": None}).sources["api.port"] == "default"


def test_arguments_may_be_sections(load):
    """Dotted names and mappings are two ways to say the same."""
    settings = load({"api": {"port": 1}, "edge.port": "2"}).settings
    assert (settings.api.port, settings.edge.port) == (1, 2)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("AWS_DEFAULT_BUCKET", "bucket", "a-bucket"),
        ("AWS_ENDPOINT_OVERRIDE", "endpoint_url", "http://a.example:9000"),
        ("AWS_ENDPOINT_URL_S3", "endpoint_url", "http://a.example:9000"),
        ("AWS_ENDPOINT_URL", "endpoint_url", "http://a.example:9000"),
    ],
)
def test_standard_aws_variables_are_read(load, name: str, setting: str, value: str):
    """What the AWS tools read is read here, below everything else."""
    loaded = load(environ={name: value})
    assert getattr(loaded.settings.object_storage, setting) == value
    assert loaded.sources[f"object_storage.{setting}"] == f"AWS variable {name}"


def test_aws_variables_do_not_touch_another_store(load):
    """A bucket in the environment does not contradict a store that was named."""
    environ = {"AWS_DEFAULT_BUCKET": "b-1", "AWS_ENDPOINT_URL": "http://a", "AWS_CA_BUNDLE": "/nowhere"}
    assert load({"object_storage.store": "file:///srv/o"}, environ).settings.object_storage.endpoint_url is None
    assert (
        load({"object_storage.store": "s3://other"}, {"AWS_DEFAULT_BUCKET": "b-1"}).settings.store_uri == "s3://other"
    )


def test_awss_certificates_are_looked_at_only_for_s3(load, problems):
    """A file that is not there stops nobody who does not use it."""
    environ = {"AWS_CA_BUNDLE": "/nowhere/ca.pem"}
    assert load(environ=environ).settings.object_storage.ca_bundle is None
    assert "AWS variable AWS_CA_BUNDLE" in problems({"object_storage.bucket": "b-1"}, environ)[0]


def test_aws_credentials_are_left_to_their_chain(load):
    """Credentials of the environment do not become settings, which would freeze them."""
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    assert set(load(environ=environ).sources.values()) == {"default"}


def test_the_named_file_wins(load, tmp_path: Path):
    """--config over WILDCAST_CONFIG over config.yaml, relative to the working directory."""
    (tmp_path / "named.yaml").write_text("api: {port: 1}")
    (tmp_path / "env.yaml").write_text("api: {port: 2}")
    usual, environ = "api: {port: 3}", {"WILDCAST_CONFIG": "env.yaml"}
    assert load(text=usual, environ=environ, config_file=Path("named.yaml")).settings.api.port == 1
    assert load(text=usual, environ=environ).settings.api.port == 2
    assert load(text=usual).settings.api.port == 3


def test_paths_are_relative_to_the_working_directory(load, tmp_path: Path):
    """Wherever they stand, and the default too; absolute ones stay."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "c.yaml").write_text("results: {output_dir: out}\nworkflows: {directories: [w, /abs]}\n")
    settings = load(config_file=Path("etc/c.yaml")).settings
    assert settings.data_dir == tmp_path / "wildcast-data"
    assert settings.output_dir == tmp_path / "out"
    assert settings.workflows.directories == (tmp_path / "w", Path("/abs"))


def test_a_home_directory_is_expanded(load):
    """A tilde means the home directory."""
    assert load({"data_dir": "~/w"}).settings.data_dir == Path.home() / "w"


@pytest.mark.parametrize("text", ["w1:w2", '["w1", "w2"]'])
def test_workflow_directories_come_as_a_search_path(load, tmp_path: Path, text: str):
    """WORKFLOW_DIR is split as PATH is, or is a JSON list."""
    assert load(environ={"WORKFLOW_DIR": text}).settings.workflows.directories == (tmp_path / "w1", tmp_path / "w2")


def test_lists_come_with_commas(load):
    """Names in a variable are separated by commas."""
    environ = {
        "WILDCAST_WORKFLOWS__EXPOSED": "a, b,",
        "WILDCAST_WORKFLOWS__WARM_UP": "b,c",
        "WILDCAST_EDGE__CORS_ORIGINS": '["http://a", "http://b:1/"]',
    }
    settings = load(environ=environ).settings
    assert settings.workflows.exposed == ("a", "b")
    assert settings.workflows.warm_up == ("b", "c")
    assert settings.edge.cors_origins == ("http://a", "http://b:1")


def test_a_workflows_own_config_comes_as_json_or_nested(load):
    """Free-form values of one workflow can be given in the environment."""
    as_json = load(environ={"WILDCAST_WORKFLOWS__CONFIG": '{"W": {"n": 1}}'})
    nested = load(environ={"WILDCAST_WORKFLOWS__CONFIG__w__n": "1"})
    assert as_json.settings.workflows.config == {"W": {"n": 1}}
    assert nested.settings.workflows.config == {"w": {"n": "1"}}
    assert nested.sources["workflows.config"] == "environment WILDCAST_WORKFLOWS__CONFIG__w__n"


def test_constructing_settings_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Only load_settings looks at the environment and the disk."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WILDCAST_API__PORT", "9001")
    (tmp_path / "config.yaml").write_text("api: {port: 9002}")
    assert Settings().api.port == 8000
