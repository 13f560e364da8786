"""What stops the start, each with one sentence that names the setting and where it came from."""

from pathlib import Path

import pytest

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("api.port", "x", "a whole number, not 'x'"),
        ("api.port", 65536, "at most 65535, not 65536"),
        ("api.port", -1, "at least 0, not -1"),
        ("api.port", True, "a whole number"),
        ("api.port", 80.5, "a whole number, not 80.5"),
        ("api.host", "", "not be empty"),
        ("api.host", "http://h", "must match the pattern"),
        ("api.public_url", "h:1", "begins with http:// or https://"),
        ("api.public_url", "http://h/?a=1", "without spaces, query and fragment"),
        ("api.public_url", "http://h:99999", "not a URL"),
        ("api.max_body_bytes", 0, "at least 1"),
        ("edge.enabled", "maybe", "true or false, not 'maybe'"),
        ("edge.public_url", "http://h/path", "without a path"),
        ("edge.cors_origins", ["null-ish"], "begins with http://"),
        ("edge.cors_origins", 5, "must be a list"),
        ("log.level", "loud", "'debug', 'info', 'warning' or 'error', not 'loud'"),
        ("log.format", "xml", "'text' or 'json'"),
        ("database.url", "wildcast.sqlite", "must be a database URL"),
        ("data_dir", "", "must be a path"),
        ("data_dir", 5, "must be a path"),
        ("workflows.directories", "[", "must be JSON"),
        ("workflows.max_queued", 0, "at least 1"),
        ("workflows.config", {"w": 5}, "must be a mapping"),
        ("workflows.config", "{", "must be JSON"),
        ("results.min_free_disk_bytes", -1, "at least 0"),
        ("object_storage.store", "/srv/objects", "must be a URI that begins with file://"),
        ("object_storage.store", "ftp://h/x", "must be a URI that begins with file://"),
        ("object_storage.store", "file:relative", "must be a URI"),
        ("object_storage.store", "file://host/x", "absolute path after file://"),
        ("object_storage.store", "file://", "absolute path after file://"),
        ("object_storage.store", "s3:///x", "must name a bucket"),
        ("object_storage.store", "s3://b?region=x", "bucket and a path alone"),
        ("object_storage.bucket", "s3://b", "must match the pattern"),
        ("object_storage.bucket", "ab/c", "must match the pattern"),
        ("object_storage.region", "eu west", "must match the pattern"),
        ("object_storage.prefix", "a/../b", "relative path"),
        ("object_storage.prefix", "a//b", "relative path"),
        ("object_storage.prefix", "a*", "wildcards"),
        ("object_storage.prefix", "a/.wildcast", "reserved"),
        ("object_storage.prefix", "x" * 1025, "1024"),
        ("object_storage.endpoint_url", "ftp://h", "begins with http:// or https://"),
        ("object_storage.endpoint_url", "http://", "begins with http:// or https://"),
        ("object_storage.scheme", "ftp", "'http' or 'https'"),
        ("object_storage.ca_bundle", "missing.pem", "cannot be read (No such file or directory)"),
        ("object_storage.proxy_url", "nonsense", "begins with http://"),
        ("object_storage.req_checksum", "when_required", "'required' or 'supported'"),
        ("object_storage.max_concurrency", 0, "auto or a whole number of at least 1"),
        ("object_storage.max_concurrency", "many", "auto or a whole number of at least 1"),
        ("object_storage.max_concurrency", True, "auto or a whole number of at least 1"),
        ("object_storage.multipart_chunksize", 5 * MIB - 1, "at least 5242880, not 5242879"),
        ("object_storage.multipart_chunksize", 5 * 1024 * MIB + 1, "at most 5368709120"),
        ("object_storage.crt_min_limit", -1, "at least 0"),
        ("object_storage.sse", "rot13", "'AES256', 'aws:kms' or 'aws:kms:dsse'"),
        ("object_storage.sse_kms_key_id", "k", "needs sse to be aws:kms"),
        ("object_storage.storage_class", "GLACIER", "cannot be read at once"),
        ("object_storage.tags", {str(number): "x" for number in range(11)}, "at most 10 tags"),
        ("object_storage.tags", {"a" * 129: "x"}, "1 to 128 characters"),
        ("object_storage.tags", {"a": 5}, "must be text"),
        ("object_storage.cloudfront_domain", "d.example/path", "without a path"),
        ("object_storage.cloudfront_key_pair_id", "K K", "must match the pattern"),
        ("object_storage.cloudfront_hash_algorithm", "MD5", "'SHA1' or 'SHA256'"),
        ("object_storage.signed_url_expires_in", 0, "at least 1"),
        ("object_storage.signed_url_expires_in", 10**10, "at most"),
        ("object_storage.session_token", "t", "without access_key_id and secret_access_key"),
    ],
)
def test_a_bad_value_is_one_sentence(problems, name: str, value: object, reason: str):
    """The setting, where it came from, and what is allowed."""
    found = problems({name: value})
    assert len(found) == 1
    assert name.rpartition(".")[2] in found[0]
    assert f"argument {name}" in found[0]
    assert reason in found[0]


@pytest.mark.parametrize(
    ("given", "name", "origin", "meant"),
    [
        ({"arguments": {"api.prot": 1}}, "api.prot", "argument api.prot", "api.port"),
        ({"environ": {"WILDCAST_API__PROT": "1"}}, "api.prot", "environment WILDCAST_API__PROT", "api.port"),
        ({"environ": {"WILDCAST_NOTHING__AT_ALL": "1"}}, "nothing.at_all", "WILDCAST_NOTHING__AT_ALL", "lists all"),
        ({"environ": {"WILDCAST_NOTHING__A__B": "1"}}, "nothing.a__b", "WILDCAST_NOTHING__A__B", "lists all"),
        ({"text": "object_store: {}"}, "object_store", "config.yaml", "object_storage?"),
        ({"text": "api: {port: 1, prot: 2}"}, "api.prot", "config.yaml", "api.port"),
        ({"text": "1: 2"}, "1", "config.yaml", "lists all"),
    ],
)
def test_an_unknown_name_stops_the_start(problems, given: dict, name: str, origin: str, meant: str):
    """A misspelt setting is not ignored, and the near one is offered."""
    found = problems(**given)
    assert len(found) == 1
    assert f"no setting {name} (" in found[0]
    assert origin in found[0]
    assert meant in found[0]


def test_several_problems_are_told_at_once(problems):
    """One line each, whatever place they came from."""
    found = problems(
        {"api.port": "x"}, {"WILDCAST_EDGE__PORT": "y", "WILDCAST_A__B": "1"}, "log: {level: loud, colour: red}\n"
    )
    assert len(found) == 5
    assert all(any(name in line for line in found) for name in ("api.port", "edge.port", "a.b", "level", "colour"))


@pytest.mark.parametrize("text", ["api: 5", "api: [port]", "api: text"])
def test_a_section_must_be_a_mapping(problems, text: str):
    """A section with something else in it is told as such."""
    assert "the section api (file" in problems(text=text)[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("api: {port: 1", "not valid YAML, line 1"),
        ("api:\n  port: 1\n  port: 2\n", "not valid YAML, line 3, column 3: the key 'port' comes twice"),
        ("api: {}\nedge: {}\napi: {}\n", "the key 'api' comes twice"),
        ("- api", "must be a mapping of sections"),
        ("just text", "must be a mapping of sections"),
        ("api: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("? [a]\n: 1", "not valid YAML"),
    ],
)
def test_a_broken_file_is_one_sentence(problems, tmp_path: Path, text: str, reason: str):
    """The file is named, with the line, and nothing silently becomes a default."""
    found = problems(text=text)
    assert len(found) == 1
    assert str(tmp_path / "config.yaml") in found[0]
    assert reason in found[0]


def test_merge_keys_are_no_doubled_keys(load):
    """YAML's merge keys may override what they merge."""
    text = "api: &base {port: 1, host: h}\nedge: &edge {<<: *base, port: 2, host: g}\n"
    settings = load(text=text).settings
    assert (settings.api.port, settings.edge.port, settings.edge.host) == (1, 2, "g")


def test_a_file_that_is_not_text_is_told(problems, tmp_path: Path):
    """A binary file is no configuration."""
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in problems()[0]


def test_a_directory_is_no_file(problems, tmp_path: Path):
    """A file that cannot be read is told with the reason."""
    (tmp_path / "config.yaml").mkdir()
    assert "cannot be read: Is a directory" in problems()[0]


@pytest.mark.parametrize(
    ("keywords", "named_by"),
    [
        ({"config_file": Path("gone.yaml")}, "--config"),
        ({"environ": {"WILDCAST_CONFIG": "gone.yaml"}}, "WILDCAST_CONFIG"),
    ],
)
def test_a_named_file_must_exist(problems, keywords: dict, named_by: str):
    """Whoever names a file wants it read."""
    found = problems(**keywords)
    assert "gone.yaml" in found[0]
    assert named_by in found[0]


def test_an_empty_file_is_fine(load):
    """Nothing in it is nothing set."""
    assert set(load(text="# nothing\n").sources.values()) == {"default"}
