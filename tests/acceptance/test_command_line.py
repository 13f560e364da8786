"""`wildcast-server` as its users call it: real processes."""

import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import boto3
import pytest

import wildcast

PROGRAM = Path(sys.executable).parent / "wildcast-server"


@pytest.fixture
def call(tmp_path, clean_environment):
    """Call the command line in an empty folder; give what it printed."""

    def call_program(*arguments: object, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = clean_environment | {"WILDCAST_DATA_DIR": str(tmp_path / "data")} | environment
        words = [PROGRAM, *map(str, arguments)]
        done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call_program


@pytest.fixture
def directory(tmp_path) -> Path:
    """Some output, dotfile and empty file included."""
    made = tmp_path / "my results"
    (made / "sub").mkdir(parents=True)
    (made / "sub" / "a.txt").write_text("a")
    (made / ".hidden").write_text("hidden")
    (made / "empty").touch()
    return made


def test_publish_prints_metadata_whose_url_an_edge_opens(call, directory, tmp_path):
    """Without any server a directory is published; an edge over the same store then serves its URL."""
    metadata = json.loads(call("publish", directory).stdout)
    assert (metadata["request_id"], metadata["remote_path"]) == ("my results", "outputs/my results")
    assert {file["path"] for file in metadata["output_files"]} == {
        f"my results/{p}" for p in (".hidden", "empty", "sub/a.txt")
    }
    from wildcast_server.settings import load_settings
    from wildcast_server.wiring.stack import EdgeAlone

    settings = load_settings({"data_dir": tmp_path / "data", "edge.port": 0}, environ={}, cwd=tmp_path).settings
    with EdgeAlone(settings) as edge:
        again = json.loads(call("publish", directory, WILDCAST_EDGE__PUBLIC_URL=edge.edge_url).stdout)
        mapper = wildcast.create_cloudfront_mapper(again["signed_url"])
        assert {name: mapper[name] for name in (".hidden", "sub/a.txt", "empty")} == {
            ".hidden": b"hidden",
            "sub/a.txt": b"a",
            "empty": b"",
        }


def test_publishing_again_is_the_same_publication(call, directory):
    """Repeating an unchanged publish changes nothing; a changed one goes beside it."""
    first, second = (json.loads(call("publish", directory).stdout) for _ in range(2))
    assert first["publication"] == second["publication"]
    assert first["created_at"] == second["created_at"]
    (directory / "sub" / "a.txt").write_text("b")
    assert json.loads(call("publish", directory).stdout)["remote_path"] == "outputs/my results-2"


def test_publish_takes_another_name(call, directory):
    """`--name` is what the publication is called."""
    assert json.loads(call("publish", directory, "--name", "run-7").stdout)["remote_path"] == "outputs/run-7"


@pytest.mark.parametrize(
    "name", ["", "a/b", *(pytest.param(name, marks=pytest.mark.long) for name in ("..", "/abs", ".wildcast", "a\nb"))]
)
def test_publish_refuses_a_name_that_is_no_path(call, directory, name):
    """A name is one plain segment: it can neither leave the prefix nor be wildcast's own."""
    assert call("publish", directory, "--name", name, code=1).stderr.splitlines()[-1].startswith("wildcast-server: ")


def test_publish_says_what_is_wrong_with_the_directory(call, tmp_path):
    """Missing, a file, empty: each is a sentence."""
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name in ("missing", "file", "empty"):
        assert name in call("publish", tmp_path / name, code=1).stderr


def test_sign_prints_a_url_that_ends_when_asked(call):
    """The URL is for everything below the prefix, and for nothing else."""
    from wildcast.contract.policy import parse_signed_url

    url = call("sign", "outputs/exec_1/", "--expires-in", "60", "--ip", "192.0.2.0/24").stdout.strip()
    signed = parse_signed_url(url)
    assert signed.policy.resource == "http://127.0.0.1:8001/outputs/exec_1/*"
    assert signed.policy.ip == "192.0.2.0/24"
    cookies = json.loads(call("sign", "outputs/exec_1", "--cookies").stdout)
    assert cookies.keys() == {"CloudFront-Policy", "CloudFront-Signature", "CloudFront-Key-Pair-Id"}


@pytest.mark.parametrize("prefix", ["", "a/../b", pytest.param("/", marks=pytest.mark.long)])
def test_sign_refuses_a_prefix_that_would_open_more(call, prefix):
    """An empty prefix would be a URL for everything."""
    assert "give the path of a publication" in call("sign", prefix, code=2).stderr


def test_config_says_where_values_come_from_and_hides_secrets(call, tmp_path):
    """Each value has its source; no secret is printed, whichever way it came."""
    (tmp_path / "config.yaml").write_text(
        "object_storage: {bucket: from-file, access_key: canary-0, secret_key: canary-1}\n"
    )
    text = call(
        "--set", "api.port=9000", "config", OBJECT_STORAGE_SESSION_TOKEN="canary-2", AWS_REGION="eu-north-1"
    ).stdout
    lines = {line.split(" = ")[0]: line for line in text.splitlines()}
    assert "9000" in lines["api.port"]
    assert "argument" in lines["api.port"]
    assert "config.yaml" in lines["object_storage.bucket"]
    assert "AWS_REGION" in lines["object_storage.region"]
    assert "canary" not in text
    listed = json.loads(call("config", "--json").stdout)
    assert listed["object_storage.bucket"]["value"] == "from-file"


def test_the_defaults_are_listed_whatever_is_set(call, tmp_path):
    """Also where the file that is named has settings that do not exist: that is when one looks for those that do."""
    (tmp_path / "theirs.yaml").write_text("redis: {}\napi: {port: 9000}\n")
    arguments = ("--config", tmp_path / "theirs.yaml", "config")
    assert "there is no section redis" in call(*arguments, code=1).stderr
    text = call(*arguments, "--defaults", AWS_REGION="eu-north-1").stdout
    assert "api.port = 8000" in text
    assert {line.rpartition("# ")[2] for line in text.splitlines()} == {"default", "derived"}


def test_a_bad_configuration_stops_every_command_with_its_sentences(call, directory):
    """One line for each thing that is wrong, before anything happens."""
    arguments = ("--set", "object_storage.multipart_chunksize=1000", "--set", "object_storage.colour=1")
    for command in (("serve",), ("edge",), ("publish", directory), ("sign", "a"), ("config",), ("migrate",)):
        stderr = call(*arguments, *command, code=1).stderr
        assert "multipart_chunksize" in stderr
        assert "colour" in stderr


def test_a_bad_signing_key_stops_the_start(call, tmp_path):
    """A key that cannot sign is noticed before the first result, not after it."""
    key = tmp_path / "key.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n")
    stderr = call(
        "serve",
        code=1,
        OBJECT_STORAGE_ENABLED="true",
        OBJECT_STORAGE_BUCKET="my-bucket",
        CLOUDFRONT_DOMAIN="d111111abcdef8.cloudfront.net",
        CLOUDFRONT_KEY_PAIR_ID="K2JCJMDEHXQW5F",
        CLOUDFRONT_PRIVATE_KEY_PATH=str(key),
    ).stderr
    assert "private key" in stderr
    assert "bm90IGEga2V5" not in stderr


def test_the_edges_own_key_is_private(call, tmp_path):
    """No default key: each installation makes its own, readable by its owner alone, and keeps it."""
    url = call("sign", "outputs/a").stdout
    key = tmp_path / "data" / "keys" / "edge.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert call("sign", "outputs/a").stdout.partition("Key-Pair-Id=")[2] == url.partition("Key-Pair-Id=")[2]


def test_migrate_makes_and_keeps_the_schema(call):
    """On a fresh and on a current database it succeeds."""
    for _ in range(2):
        assert "schema" in call("migrate").stdout


HEAVY = ["fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "dbos", "boto3", "xarray", "zarr"]


@pytest.mark.parametrize("command", [["publish", "DIRECTORY"], ["sign", "outputs/a"]])
def test_publish_and_sign_import_no_service(directory, tmp_path, clean_environment, command):
    """Neither web framework nor database nor engine is loaded for what needs none."""
    arguments = [str(directory) if word == "DIRECTORY" else word for word in command]
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('LOADED', [name for name in {HEAVY} if name in sys.modules]))\n"
        f"sys.argv = ['wildcast-server', *{arguments}]\n"
        "from wildcast_server.cli import main; main()"
    )
    environment = clean_environment | {"WILDCAST_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout


def test_the_demo_tells_its_story_and_draws_its_picture(call, tmp_path):
    """Run as `make demo` does: identical values, a trend, a picture, exit code 0, and no signature shown."""
    text = call("demo", "--directory", tmp_path / "demo").stdout
    assert "identical" in text
    assert "K per decade" in text
    picture = Path(text.rpartition("picture: ")[2].strip())
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "Signature=…" in text


def test_publish_stops_in_order_when_it_is_told_to(tmp_path, clean_environment, s3_endpoint, bucket):
    """SIGTERM while a publication is made leaves neither a claim nor a manifest nor an open multipart upload."""
    directory = tmp_path / "large"
    directory.mkdir()
    for number in range(40):
        (directory / f"{number}.bin").write_bytes(bytes(6 << 20))
    environment = clean_environment | {
        "OBJECT_STORAGE_BUCKET": bucket,
        "OBJECT_STORAGE_ENDPOINT_URL": s3_endpoint,
        "OBJECT_STORAGE_MULTIPART_CHUNKSIZE": str(5 << 20),
        "OBJECT_STORAGE_MAX_CONCURRENCY": "2",
    }
    s3 = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")

    def keys() -> set[str]:
        return {item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])}

    with closing(s3), subprocess.Popen([PROGRAM, "publish", directory], cwd=tmp_path, env=environment) as process:
        deadline = time.monotonic() + 60
        while not any(key.endswith(".bin") for key in keys()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
        assert not any("/.wildcast/" in key for key in keys())
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
