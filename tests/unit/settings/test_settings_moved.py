"""What Earth2Studio's server has settings for: who brings its file or its variables is told what to use instead."""

import pytest

from wildcast_server.settings import load_settings, unused_sentence
from wildcast_server.settings.moved import ADVICE, VARIABLES
from wildcast_server.settings.sources import variable
from wildcast_server.settings.tree import LEAVES

EVERY = "0.0.0.0"  # noqa: S104 - nothing is bound

THEIRS = """
redis: {host: localhost, port: 6379, retention_ttl: 604800}
queue: {name: inference, max_size: 20, default_timeout: 1h, job_timeout: 2h}
worker: {persistent: true, num_workers: 1}
paths: {default_output_dir: /outputs, results_zip_dir: /outputs, output_format: zarr, result_zip_enabled: false}
logging: {level: INFO, format: "{time} - {message}"}
server: {host: 0.0.0.0, port: 8000, workers: 4, results_ttl_hours: 24}
cors: {allow_origins: ["*"], allow_credentials: true}
object_storage:
  enabled: false
  storage_type: s3
  bucket: null
  region: us-east-1
  prefix: outputs
  use_transfer_acceleration: true
  max_concurrency: 16
  multipart_chunksize: 8388608
  use_rust_client: true
  cloudfront_domain: null
  signed_url_expires_in: 86400
workflow_exposure: {exposed_workflows: [], warmup_workflows: [example_user_workflow]}
"""
"""Its config.yaml, with what its parts differ by."""


@pytest.mark.parametrize(
    "said",
    [
        "there is no section redis (file {file}): nothing takes its place, delete it",
        "there is no section worker (file {file}): nothing takes its place, delete it",
        "there is no setting queue.max_size (file {file}): use workflows.max_queued",
        "queue.name, queue.default_timeout, queue.job_timeout (file {file}): nothing takes their place, delete them",
        "there is no setting paths.default_output_dir (file {file}): use results.output_dir",
        "there is no setting logging.level (file {file}): use log.level",
        "there is no setting server.port (file {file}): use api.port",
        "there is no setting server.workers (file {file}): nothing takes its place, delete it",
        "server.results_ttl_hours (file {file}): use results.retention_seconds, in seconds",
        "workflow_exposure.exposed_workflows (file {file}): use workflows.exposed, where null exposes all",
        "there is no setting workflow_exposure.warmup_workflows (file {file}): use workflows.warm_up",
    ],
)
def test_each_section_is_told_with_what_to_use_instead(problems, tmp_path, said):
    """Whoever gives Earth2Studio's own file reads, line for line, what to write."""
    told = [line for line in problems(text=THEIRS) if said.format(file=tmp_path / "config.yaml") in line]
    assert len(told) == 1
    assert told[0].startswith("there ")


def test_nothing_of_their_file_is_told_otherwise(problems):
    """No line of it is about a near name that was not meant, and what is common to both is no problem."""
    found = problems(text=THEIRS)
    assert not [line for line in found if "did you mean" in line or "--defaults" in line]
    assert [line for line in found if "object_storage." in line.partition("(")[0]] == [
        line for line in found if line.startswith("there is no setting object_storage.storage_type")
    ]


@pytest.mark.parametrize("given", [{"arguments": {"server.port": 1}}, {"environ": {"WILDCAST_SERVER__PORT": "1"}}])
def test_a_single_one_is_told_too(problems, given):
    """In an argument and in the environment it has its dotted name."""
    [said] = problems(**given)
    assert said.startswith("there is no setting server.port (")
    assert said.endswith(": use api.port")


@pytest.mark.parametrize("name", ["paths.nonsense", "redis"])
def test_what_is_nothing_of_ours_is_to_be_deleted(problems, name):
    """A name of such a section that has no successor, and a section that is no mapping."""
    assert problems({name: 5})[0].endswith("nothing takes its place, delete it")


def test_a_misspelling_in_a_section_of_both_is_one(problems):
    """Object storage is ours, too, and a near name is offered there as ever."""
    assert problems({"object_storage.buket": "x"})[0].endswith("did you mean object_storage.bucket?")


def test_what_is_advised_exists():
    """Every setting that a sentence names is one, and every variable sets something."""
    words = {word.strip(".,:;") for section in ADVICE.values() for text in section.values() for word in text.split()}
    named = {word for word in words if word.partition(".")[2] and "/" not in word}
    assert named
    assert named <= set(LEAVES)
    assert set(VARIABLES.values()) <= {variable(name) for name in LEAVES}


def test_their_variables_are_not_passed_over(load):
    """A limit to what is exposed must not be lost in silence."""
    assert load(environ={"EXPOSED_WORKFLOWS": "a", "MAX_QUEUE_SIZE": "5"}).unused == (
        "EXPOSED_WORKFLOWS",
        "MAX_QUEUE_SIZE",
    )
    assert unused_sentence("EXPOSED_WORKFLOWS").endswith("has no effect: set WILDCAST_WORKFLOWS__EXPOSED instead")
    assert unused_sentence("WILDCAST_PORT").endswith("has no effect")


def test_a_level_may_be_written_in_capitals(load):
    """Earth2Studio's file has `INFO`."""
    assert load({"log.level": "INFO"}).settings.log.level == "info"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b,c", ["a", "b", "c"]),
        (" a , b ,", ["a", "b"]),
        ("a,b:c", ["a", "b", "c"]),
        ("x,y", ["x,y"]),
        ("a,x,y,b", ["a", "x,y", "b"]),
        ("x,y:x, y", ["x,y", "x", "y"]),
        ('["a,b"]', ["a,b"]),
    ],
)
def test_workflow_directories_may_have_commas_between_them(load, tmp_path, text, names):
    """As Earth2Studio writes WORKFLOW_DIR; a directory that exists keeps the comma in its name."""
    (tmp_path / "x,y").mkdir()
    found = load(environ={"WORKFLOW_DIR": text}).settings.workflows.directories
    assert found == tuple(tmp_path / name for name in names)


@pytest.mark.parametrize(
    ("values", "alone"),
    [
        ({}, False),
        ({"edge.host": EVERY}, True),
        ({"edge.host": "::"}, True),
        ({"api.host": EVERY}, True),
        ({"api.host": "192.0.2.1"}, True),
        ({"api.host": EVERY, "edge.host": "192.0.2.1"}, False),
        ({"api.host": "localhost", "edge.host": "127.0.0.2"}, False),
        ({"api.host": EVERY, "edge.host": EVERY, "edge.public_url": "http://h:8001"}, False),
        ({"api.host": EVERY, "edge.enabled": False}, False),
    ],
)
def test_urls_that_lead_other_machines_nowhere_are_noticed(tmp_path, values, alone):
    """Who lets other machines in has to name the address under which they find the edge."""
    settings = load_settings(values, environ={}, cwd=tmp_path).settings
    assert settings.signs_for_this_machine_alone is alone
