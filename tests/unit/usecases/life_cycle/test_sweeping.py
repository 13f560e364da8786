"""Orphans are found by their age and by what the records know, and no others."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace

import boto3
import pytest

from wildcast.contract.status import ExecutionStatus
from wildcast_server.store import StoreOptions, open_store
from wildcast_server.usecases.sweeping import Sweep

S = ExecutionStatus
DAY = 86_400
UNKNOWN = "exec_1_ffffffff"


def sweep_of(world) -> Sweep:
    stores = world.remove.stores
    return Sweep(
        records=world.records,
        stores=stores,
        output_root=world.outputs,
        after_seconds=DAY,
        prefix="outputs",
        clock=world.clock,
    )


def age(directory, world, seconds: float) -> None:
    """Let a directory be as old as that."""
    then = world.clock().timestamp() - seconds
    os.utime(directory, (then, then))


def test_a_directory_that_no_record_knows_is_removed(world) -> None:
    """Once it is old enough."""
    directory = world.outputs / UNKNOWN
    world.write(directory)
    age(directory, world, DAY - 1)
    assert sweep_of(world)() == 0

    age(directory, world, DAY + 1)
    assert sweep_of(world)() == 1
    assert world.left() == []


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED, S.RUNNING])
def test_a_directory_that_a_record_knows_stays(world, status: ExecutionStatus) -> None:
    """A failed execution's is kept for its retry, and what is kept goes when it expires."""
    execution = world.running() if status is S.RUNNING else world.ended(status)
    age(world.outputs / execution.id, world, 10 * DAY)

    assert sweep_of(world)() == 0
    assert (world.outputs / execution.id / "a.txt").exists()


def test_what_comes_back_after_its_removal_is_removed(world) -> None:
    """A worker that was taken for dead, and was only slow, may have gone on writing."""
    execution = world.ended(S.CANCELLED)
    world.remove()
    world.write(world.outputs / execution.id)
    age(world.outputs / execution.id, world, DAY + 1)

    assert sweep_of(world)() == 1
    assert world.left() == []


def test_a_place_that_was_left_is_removed(world) -> None:
    """What a machine wrote that was taken for dead, when another one has gone on at the next place."""
    execution = world.running()
    world.records.change(execution.id, expected=S.RUNNING, to=S.QUEUED, place=2)
    for name in (execution.id, f"{execution.id}-2", f"{execution.id}-3"):
        world.write(world.outputs / name)
        age(world.outputs / name, world, DAY + 1)

    assert sweep_of(world)() == 1
    assert sorted(path.name for path in world.outputs.iterdir()) == [f"{execution.id}-2", f"{execution.id}-3"]


def test_a_result_that_no_record_knows_is_reported_only(world, caplog) -> None:
    """It may be the only copy, of a server whose database was restored or changed."""
    execution = world.running()
    directory = world.outputs / UNKNOWN
    (world.outputs / execution.id).rename(directory)
    (directory / ".wildcast").mkdir()
    (directory / ".wildcast" / "manifest.json.gz").write_bytes(b"")
    age(directory, world, 100 * DAY)

    assert sweep_of(world)() == 0
    assert (directory / "a.txt").exists()
    assert "left alone" in caplog.text


@pytest.mark.parametrize("name", ["notes", ".site", "exec_1", f"{UNKNOWN}-old", f"x{UNKNOWN}", f".{UNKNOWN}.begun"])
def test_what_has_no_name_of_ours_is_left_alone(world, name: str) -> None:
    """The directory may hold more than output directories."""
    directory = world.outputs / name
    world.write(directory)
    age(directory, world, 100 * DAY)

    assert list(sweep_of(world).find()) == []


def test_a_link_is_left_alone(world) -> None:
    """Even one of a name of ours."""
    elsewhere = world.root / "elsewhere"
    world.write(elsewhere)
    (world.outputs / UNKNOWN).symlink_to(elsewhere)
    os.utime(world.outputs / UNKNOWN, (0, 0), follow_symlinks=False)

    assert list(sweep_of(world).find()) == []


def test_what_a_removal_has_left_to_others_is_left_alone(make_world) -> None:
    """Foreign files in a directory that was published, long after its record is gone."""
    world = make_world(storage_type="server")
    directory = world.outputs / UNKNOWN
    (directory / ".wildcast").mkdir(parents=True)
    (directory / ".wildcast" / "removed").touch()
    (directory / "notes.txt").write_text("mine")
    age(directory, world, 100 * DAY)

    assert list(sweep_of(world).find()) == []


def test_looking_changes_nothing(world) -> None:
    """`find` only tells."""
    world.write(world.outputs / UNKNOWN)
    age(world.outputs / UNKNOWN, world, DAY + 1)
    before = world.left()

    (orphan,) = sweep_of(world).find()

    assert orphan.is_ours
    assert UNKNOWN in str(orphan)
    assert world.left() == before


@pytest.fixture
def client(s3_endpoint: str) -> Iterator[object]:
    made = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    yield made
    made.close()


@pytest.fixture
def stored(make_world, s3_endpoint: str, bucket: str):
    """A world that publishes to S3."""
    options = StoreOptions(endpoint_url=s3_endpoint, region="us-east-1", max_retries=0)
    return make_world(store=open_store(f"s3://{bucket}", options))


def open_uploads(client, bucket: str) -> list[str]:
    return sorted(upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


def test_uploads_that_nobody_ended_are_aborted(stored, client, bucket: str, monkeypatch) -> None:
    """Those of executions that have ended, once they are old enough."""
    begun, listed = stored.clock(), stored.store.unfinished_uploads
    # moto says of every upload that it was begun in 2010.
    monkeypatch.setattr(
        stored.store,
        "unfinished_uploads",
        lambda prefix: (replace(upload, initiated=begun) for upload in listed(prefix)),
    )
    ended, running = stored.ended(S.FAILED), stored.running()
    for name in (ended.id, f"{ended.id}-2", running.id):
        client.create_multipart_upload(Bucket=bucket, Key=f"outputs/{name}/big.bin")
    stored.clock.pass_by(DAY - 3600)
    assert sweep_of(stored)() == 0

    stored.clock.pass_by(2 * 3600)
    assert sweep_of(stored)() == 2
    assert open_uploads(client, bucket) == [f"outputs/{running.id}/big.bin"]


def test_uploads_that_the_records_do_not_know_are_reported_only(stored, client, bucket: str, caplog) -> None:
    """Another server may share the bucket; and outside of our prefix nothing is even looked at."""
    keys = [f"outputs/{UNKNOWN}/big.bin", "outputs/by-hand/big.bin", f"other/{UNKNOWN}/big.bin"]
    for key in keys:
        client.create_multipart_upload(Bucket=bucket, Key=key)
    stored.clock.pass_by(100 * DAY)

    assert sweep_of(stored)() == 0

    assert open_uploads(client, bucket) == sorted(keys)
    assert [key for key in keys if key in caplog.text] == keys[:2]


def test_a_store_that_may_not_be_looked_at_stops_nothing(stored, monkeypatch, caplog) -> None:
    """Listing uploads is a right of its own; directories are swept all the same."""
    from wildcast_server.errors import AccessDeniedError

    def denied(_prefix: str):
        raise AccessDeniedError("no right to do that")

    monkeypatch.setattr(stored.store, "unfinished_uploads", denied)
    stored.write(stored.outputs / UNKNOWN)
    age(stored.outputs / UNKNOWN, stored, DAY + 1)

    assert sweep_of(stored)() == 1
    assert "cannot be listed" in caplog.text


def test_small_files_without_their_directory_are_removed(world) -> None:
    """Marks and the clock of live publishing, of what has ended or is not known; never a running execution's."""
    ended, running = world.ended(S.FAILED), world.running()
    names = (UNKNOWN, f"{UNKNOWN}-2", ended.id, f"{ended.id}-3", running.id)
    kinds = ("computed", "clock", "1.begun", "2.taken")
    for name in names:
        for kind in kinds:
            (world.outputs / f".{name}.{kind}").touch()
            age(world.outputs / f".{name}.{kind}", world, DAY + 1)
    (world.outputs / f".{UNKNOWN}.3.begun").touch()
    (world.outputs / ".exec_notes.computed").touch()
    age(world.outputs / ".exec_notes.computed", world, DAY + 1)
    shutil.rmtree(world.outputs / running.id)

    assert sweep_of(world)() == 12

    kept = {f".{name}.{kind}" for name in (ended.id, running.id) for kind in kinds}
    assert {path.name for path in world.outputs.glob(".*")} == {*kept, f".{UNKNOWN}.3.begun", ".exec_notes.computed"}
