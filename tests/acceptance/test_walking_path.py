"""From a request to an open dataset behind a wildcard signed URL, with every part real."""

import json
import re
import time
import urllib.error
import urllib.request

import pytest
import xarray as xr

import wildcast
from wildcast.contract.manifest import decode_manifest
from wildcast.contract.naming import MANIFEST_PATH

EXAMPLES = ["server/example_workflows"]


@pytest.fixture(scope="module")
def published(start_once, pytestconfig):
    """The real climate projection, published by the example workflow."""
    running = start_once(**{"workflows.directories": [pytestconfig.rootpath / EXAMPLES[0]]})
    execution = running.client.submit("netcdf_to_zarr", source="E1_north_america.nc")
    return running, execution, execution.wait(timeout=100, progress=False)


def test_the_dataset_behind_the_url_is_the_source(published):
    """Every value, coordinate and attribute that is read through the edge is the source file's."""
    from wildcast_server.demo import source_file

    _, _, result = published
    mapper = wildcast.create_cloudfront_mapper(result.signed_url, "E1_north_america.zarr")
    with xr.open_zarr(mapper, consolidated=True) as through_url, xr.open_dataset(source_file()) as source:
        xr.testing.assert_identical(through_url.load(), source.load())


def test_the_metadata_is_the_wire_contracts(published):
    """Old clients find all that they know: ids, prefix, URL, and paths that begin with the execution's id."""
    running, execution, result = published
    metadata = running.http.get(f"/v1/infer/netcdf_to_zarr/{execution.id}/results").json()
    assert metadata["request_id"] == execution.id
    assert metadata["status"] == "completed"
    assert metadata["storage_type"] == "s3"
    assert metadata["remote_path"] == f"outputs/{execution.id}"
    base, _, query = metadata["signed_url"].partition("?")
    assert base == f"{running.stack.edge_url}/outputs/{execution.id}/*"
    assert re.fullmatch(r"Policy=[^&]+&Signature=[^&]+&Key-Pair-Id=K\w+", query)
    assert f"{execution.id}/E1_north_america.zarr/zarr.json" in [file["path"] for file in metadata["output_files"]]
    assert metadata["datasets"] == [{"path": "E1_north_america.zarr", "format": "zarr3", "group": ""}]
    assert metadata["publication"]["files"] == len(metadata["output_files"]) == len(result.files)


def test_the_url_is_signed_at_each_read(published):
    """Two reads a second apart end a second apart: nothing signed is stored."""
    running, execution, first = published
    time.sleep(1.1)
    again = running.client.get("netcdf_to_zarr", execution.id).result()
    assert again.expires_at > first.expires_at
    database = b"".join(path.read_bytes() for path in running.data.glob("wildcast.sqlite*"))
    assert b"Signature=" not in database


def test_the_manifest_lists_exactly_what_lies_in_the_store(published):
    """A directory listing of the store and the manifest's rows agree, sizes included."""
    running, execution, _ = published
    root = running.data / "objects" / "outputs" / execution.id
    manifest = decode_manifest((root / MANIFEST_PATH).read_bytes())
    stored = {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}
    stored.pop(MANIFEST_PATH)
    assert {row.path: row.size for row in manifest.rows} == stored
    assert (manifest.execution, manifest.files) == (execution.id, len(stored))


def test_the_url_opens_nothing_else(published):
    """The signature of one execution does not open its neighbour, and a changed one opens nothing."""
    running, _, result = published
    other = running.client.submit("netcdf_to_zarr", source="E1_north_america.nc").wait(timeout=100, progress=False)
    query = result.signed_url.partition("?")[2]
    theirs = other.signed_url.partition("/*?")[0] + "/E1_north_america.zarr/zarr.json"
    own = result.signed_url.partition("/*?")[0] + "/E1_north_america.zarr/zarr.json"
    assert refusal(f"{theirs}?{query}") == (403, "AccessDenied")
    assert refusal(own) == (403, "MissingKey")
    assert refusal(f"{own}?{query.replace('Signature=', 'Signature=x')}")[0] == 403
    with urllib.request.urlopen(f"{own}?{query}") as response:
        assert json.load(response)["zarr_format"] == 3


def refusal(url):
    with pytest.raises(urllib.error.HTTPError) as caught, urllib.request.urlopen(url):
        pass
    with caught.value as error:
        return error.code, re.search("<Code>(.*)</Code>", error.read().decode())[1]


def test_a_result_file_redirects_to_its_signed_url(published):
    """With object storage the API sends no bytes: it answers 307 to the file's own signed URL."""
    running, execution, _ = published
    for path in ("E1_north_america.zarr/zarr.json", f"{execution.id}/E1_north_america.zarr/zarr.json"):
        answer = running.http.get(f"/v1/infer/netcdf_to_zarr/{execution.id}/results/{path}")
        assert answer.status_code == 307
        assert answer.headers["location"].startswith(f"{running.stack.edge_url}/outputs/{execution.id}/E1_north")
        assert httpx_get(answer.headers["location"]).json()["zarr_format"] == 3


def httpx_get(url):
    import httpx

    return httpx.get(url)


def test_local_output_is_gone_and_progress_was_shown(published):
    """After a verified commit the worker's disk is free again; the record kept the workflow's progress."""
    running, execution, _ = published
    # It is removed after the record says `completed`.
    deadline = time.monotonic() + 30
    while running.output_directory(execution).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    progress = execution.status().progress
    assert progress["current_step"] == progress["total_steps"]


def test_without_object_storage_the_api_serves_the_files(start):
    """Storage type `server`: the same metadata without a URL, and the files over the API, ranges included."""
    running = start(**{"object_storage.enabled": False})
    execution = running.client.submit("writes_text", text="0123456789", copies=2)
    result = execution.wait(timeout=60, progress=False)
    assert (result.metadata.storage_type, result.metadata.signed_url) == ("server", None)
    url = f"/v1/infer/writes_text/{execution.id}/results/1.txt"
    assert running.http.get(url).text == "0123456789"
    part = running.http.get(url, headers={"Range": "bytes=-3"})
    assert (part.status_code, part.text, part.headers["content-range"]) == (206, "789", "bytes 7-9/10")
    assert running.http.head(url).headers["content-length"] == "10"
    assert running.http.get(url, headers={"Range": "bytes=10-"}).status_code == 416
    assert running.output_directory(execution).is_dir()


def test_a_restart_keeps_results_and_takes_up_what_waited(start):
    """Records, objects and the edge's key outlive the process: an old URL still opens after a restart."""
    first = start()
    execution = first.client.submit("writes_text", text="kept")
    execution.wait(timeout=60, progress=False)
    first.stack.__exit__(None, None, None)
    second = start()
    result = second.client.get("writes_text", execution.id).result()
    assert result.fs.cat_file("0.txt") == b"kept"
