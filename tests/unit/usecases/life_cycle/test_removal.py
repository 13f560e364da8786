"""What executions have left is removed: all that is theirs, and nothing else."""

import os
from pathlib import Path

import pytest

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.outbox import NewRemoval
from wildcast_server.errors import NetworkError, SlowDownError
from wildcast_server.records import Effects
from wildcast_server.usecases.directories import remove_directory
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.removal import AFTERWARDS, LEASE_SECONDS, LONGEST_PAUSE, Remove, pause_after

DELETED = "deleted"


def delete(world, execution) -> None:
    """Let everything of an execution be removed."""
    effects = Effects(removals=world.ending.removals(execution, DELETED))
    world.records.mark(execution.id, expected=execution.status, deleted_at=world.clock(), effects=effects)


def test_what_the_manifest_lists_is_removed_and_nothing_else(world) -> None:
    """Objects of a publication go, the manifest too; what others have put below the prefix or beside it stays."""
    execution = world.ended(ExecutionStatus.COMPLETED)
    world.store.put(f"outputs/{execution.id}/staged/by-hand.nc", b"foreign")
    world.store.put(f"outputs/{execution.id}0/other.nc", b"another's")
    delete(world, execution)

    assert world.remove() == 2

    assert world.objects() == [f"outputs/{execution.id}/staged/by-hand.nc", f"outputs/{execution.id}0/other.nc"]
    assert world.left() == []
    assert [beginning for beginning, _ in world.forgotten] == [f"outputs/{execution.id}"]


def test_it_is_done_once(world) -> None:
    """What is removed is not due again."""
    delete(world, world.ended(ExecutionStatus.COMPLETED))

    assert world.remove() == 2
    world.clock.pass_by(2 * LEASE_SECONDS)
    assert world.remove() == 0


def test_the_manifest_goes_last(world, monkeypatch) -> None:
    """Whoever is interrupted in the middle leaves the manifest, and whoever comes next goes on."""
    execution = world.ended(ExecutionStatus.COMPLETED)
    prefix = f"outputs/{execution.id}"
    world.store.put(f"{prefix}/foreign", b"foreign")
    delete(world, execution)
    delete_object = world.store.delete

    def fails(key: str) -> None:
        if key.endswith("c.bin"):
            raise NetworkError("the store went away")
        delete_object(key)

    monkeypatch.setattr(world.store, "delete", fails)
    assert world.remove() == 1  # the directory
    assert f"{prefix}/.wildcast/manifest.json.gz" in world.objects()
    assert f"{prefix}/deep/deeper/c.bin" in world.objects()

    monkeypatch.setattr(world.store, "delete", delete_object)
    assert world.remove() == 0  # not due yet
    world.clock.pass_by(pause_after(1).total_seconds())
    assert world.remove() == 1
    assert world.objects() == [f"{prefix}/foreign"]


def test_the_cdn_forgets_it_even_if_that_fails_at_first(world, monkeypatch) -> None:
    """Asked again, with the same reference, until it is done; for another removal it is another one."""
    execution, other = (world.ended(ExecutionStatus.COMPLETED) for _ in range(2))
    delete(world, execution)
    forget = world.forget

    def refuses(beginning: str, reference: str) -> None:
        forget(beginning, reference)
        raise SlowDownError("as many as there may be are in progress")

    monkeypatch.setattr(world, "forget", refuses)
    assert world.remove() == 1  # the directory
    monkeypatch.setattr(world, "forget", forget)
    world.clock.pass_by(pause_after(1).total_seconds())
    assert world.remove() == 1

    first, again = world.forgotten
    assert first == again
    delete(world, other)
    world.remove()
    assert world.forgotten[2][1] not in (first[1], "")


@pytest.mark.parametrize("deleted_before_the_kill", [0, 2, 5])
def test_a_kill_in_the_middle_is_gone_on_with(world, monkeypatch, deleted_before_the_kill: int) -> None:
    """After a kill nothing is heard of the claim, so it is due again; and foreign objects stay even then."""
    execution = world.ended(ExecutionStatus.COMPLETED)
    world.store.put(f"outputs/{execution.id}/foreign", b"foreign")
    delete(world, execution)
    delete_object, done = world.store.delete, []

    class KilledError(BaseException):
        pass

    def killed(key: str) -> None:
        if len(done) == deleted_before_the_kill:
            raise KilledError
        done.append(key)
        delete_object(key)

    monkeypatch.setattr(world.store, "delete", killed)
    with pytest.raises(KilledError):
        world.remove()
    monkeypatch.setattr(world.store, "delete", delete_object)
    assert world.remove() == 0  # claimed

    world.clock.pass_by(LEASE_SECONDS + 60)
    world.remove()

    assert world.objects() == [f"outputs/{execution.id}/foreign"]
    assert world.left() == []
    assert world.records.open_removals(site="00000001", limit=10) == []


def test_a_publication_that_never_came_to_be_goes_as_a_whole(world) -> None:
    """Objects without a manifest, its claim, ledgers and the directory of a cancelled execution."""
    execution = world.running()
    prefix = f"outputs/{execution.id}"
    world.store.put(f"{prefix}/half.bin", b"half")
    world.store.put(f"{prefix}/.wildcast/claim", b"claim")
    world.store.put(f"{prefix}-2/moved.bin", b"moved on")
    world.store.put(f"outputs/{execution.id}x/other", b"another's")
    world.ledgers.uploaded(prefix).write_text("")
    world.ledgers.streamed(prefix, 1).write_text("")
    (world.outputs / f".{execution.id}.computed").write_text("{}")

    world.end(execution, ExecutionStatus.CANCELLED)
    world.remove()

    assert world.objects() == [f"outputs/{execution.id}x/other"]
    assert world.left() == []
    assert list((world.root / "transfers").iterdir()) == []


def test_the_places_before_the_published_one_are_emptied(world) -> None:
    """What was shown before the end may have sent the publication on; a kill may have left it there."""
    execution = world.running()
    published = world.publisher.publish(world.outputs / execution.id, f"{execution.id}-3")
    pending = world.records.change(execution.id, expected=execution.status, to=ExecutionStatus.PENDING_RESULTS)
    completed = world.end(pending, ExecutionStatus.COMPLETED, published=as_record(published, 1))
    for place in ("", "-2", "-4"):
        world.store.put(f"outputs/{execution.id}{place}/left.bin", b"left")
    delete(world, completed)

    world.remove()

    assert world.objects() == [f"outputs/{execution.id}-4/left.bin"]


def test_what_a_retry_has_left_behind_is_removed_and_not_what_it_writes(world) -> None:
    """A retry goes to the next place; the place before is emptied while it works there."""
    failed = world.end(world.running(), ExecutionStatus.FAILED)
    world.store.put(f"outputs/{failed.id}/old.bin", b"old")
    world.store.put(f"outputs/{failed.id}-2/new.bin", b"new")
    world.write(world.outputs / f"{failed.id}-2")
    for name in (failed.id, f"{failed.id}-2"):
        (world.outputs / f".{name}.computed").write_text("{}")
        (world.outputs / f".{name}.1.taken").write_text("1")
    removals = world.ending.removals(failed, "retried")
    world.records.change(
        failed.id,
        expected=ExecutionStatus.FAILED,
        to=ExecutionStatus.QUEUED,
        new_attempt=2,
        place=2,
        new_job=True,
        effects=Effects(removals=removals),
    )

    world.remove()

    assert world.objects() == [f"outputs/{failed.id}-2/new.bin"]
    assert not (world.outputs / failed.id).exists()
    assert (world.outputs / f"{failed.id}-2" / "a.txt").exists()
    assert sorted(path.name for path in world.outputs.glob(".*")) == [
        f".{failed.id}-2.1.taken",
        f".{failed.id}-2.computed",
    ]


def test_what_somebody_works_on_is_not_removed(world) -> None:
    """A removal of the place at which an execution is now waits."""
    execution = world.running()
    world.store.put(f"outputs/{execution.id}/live.bin", b"live")
    removals = [
        NewRemoval(
            execution_id=execution.id,
            attempt=1,
            storage_type="s3",
            name=execution.id,
            prefix=f"outputs/{execution.id}",
            reason="by mistake",
        )
    ]
    world.records.mark(execution.id, expected=execution.status, cancel=True, effects=Effects(removals=removals))

    assert world.remove() == 0

    assert world.objects() == [f"outputs/{execution.id}/live.bin"]
    assert len(world.records.open_removals(site=None, limit=10)) == 1


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("exec_1_00000002", "outputs/exec_1_00000002"),
        ("exec_1_00000001", "outputs"),
        ("exec_1_00000001", ""),
        ("exec_1_00000001", "outputs/exec_1_00000001/deep"),
        ("exec_1_00000001-x", "outputs/exec_1_00000001-x"),
        ("..", None),
        ("", None),
        (".", None),
        ("exec_1_00000001/..", None),
    ],
)
def test_a_name_that_is_not_the_executions_own_is_refused(world, name: str, prefix: str | None) -> None:
    """Whatever the row says, nothing beside the execution's own places is touched."""
    execution = world.ended(ExecutionStatus.FAILED)
    world.store.put("outputs/exec_1_00000002/other", b"another's")
    removal = NewRemoval(
        execution_id=execution.id, attempt=1, storage_type="s3", name=name, prefix=prefix, reason=DELETED
    )
    world.records.mark(execution.id, expected=execution.status, pinned=True, effects=Effects(removals=[removal]))
    before = world.left()

    assert world.remove() == 0

    assert world.objects() == ["outputs/exec_1_00000002/other"]
    assert world.left() == before


def test_a_store_that_is_off_leaves_its_removals_open(make_world) -> None:
    """Until object storage is on again; a record stays as long."""
    world = make_world()
    delete(world, world.ended(ExecutionStatus.COMPLETED))
    world.storage_type = "server"

    assert world.remove() == 1  # the directory

    (left,) = world.records.open_removals(site=None, limit=10)
    assert left.storage_type == "s3"
    world.storage_type = "s3"
    world.clock.pass_by(60)
    assert world.remove() == 1
    assert world.objects() == []


def test_a_directory_of_another_disk_is_left_to_its_machine(world) -> None:
    """Objects anybody removes, directories only who has them."""
    execution = world.ended(ExecutionStatus.COMPLETED)
    delete(world, execution)
    other = Remove(**{**vars(world.remove), "site": "00000002"})

    assert other() == 1

    assert world.objects() == []
    assert (world.outputs / execution.id / "a.txt").exists()


def test_a_result_that_is_served_where_it_lies_goes_file_by_file(make_world) -> None:
    """What the manifest lists is removed from the directory; a file that somebody has put there stays."""
    world = make_world(storage_type="server")
    execution = world.ended(ExecutionStatus.COMPLETED)
    (world.outputs / execution.id / "deep" / "notes.txt").write_text("mine")
    delete(world, execution)

    assert world.remove() == 1

    found = [path for path in world.left() if (world.outputs / path).is_file()]
    assert found == [f"{execution.id}/.wildcast/removed", f"{execution.id}/deep/notes.txt"]


def test_a_result_that_is_served_where_it_lies_leaves_nothing(make_world) -> None:
    """Without foreign files the directory goes as well."""
    world = make_world(storage_type="server")
    delete(world, world.ended(ExecutionStatus.COMPLETED))

    world.remove()

    assert world.left() == []


def test_what_was_left_for_others_stays_when_it_is_removed_again(make_world) -> None:
    """A kill after the manifest has gone does not make the rest look like the workflow's."""
    world = make_world(storage_type="server")
    execution = world.ended(ExecutionStatus.COMPLETED)
    directory = world.outputs / execution.id
    (directory / "notes.txt").write_text("mine")

    assert not remove_directory(directory)
    assert not remove_directory(directory)

    assert (directory / "notes.txt").read_text() == "mine"


def test_links_are_never_followed(make_world) -> None:
    """Neither one in the place of a published directory, nor one in a directory that goes as a whole."""
    world = make_world(storage_type="server")
    outside = world.root / "outside"
    (outside / "deeper").mkdir(parents=True)
    (outside / "b.txt").write_text("mine")
    published = world.ended(ExecutionStatus.COMPLETED)
    deep = world.outputs / published.id / "deep"
    deep.rename(world.root / "moved")
    deep.symlink_to(outside)
    failed = world.ended(ExecutionStatus.FAILED)
    (world.outputs / failed.id / "link").symlink_to(outside)
    delete(world, published)
    delete(world, failed)

    assert world.remove() == 2

    assert (outside / "b.txt").read_text() == "mine"
    assert (outside / "deeper").is_dir()
    assert not (world.outputs / failed.id).exists()


def test_a_link_in_the_place_of_the_directory_is_left(world) -> None:
    """It is none of ours."""
    failed = world.ended(ExecutionStatus.FAILED)
    (world.outputs / failed.id).rename(world.root / "moved")
    (world.outputs / failed.id).symlink_to(world.root / "moved")
    delete(world, failed)

    world.remove()

    assert (world.root / "moved" / "a.txt").exists()


def test_a_damaged_manifest_keeps_everything(make_world, caplog) -> None:
    """What it lists cannot be known, so nothing is removed, and the log says so."""
    world = make_world(storage_type="server")
    execution = world.ended(ExecutionStatus.COMPLETED)
    (world.outputs / execution.id / ".wildcast" / "manifest.json.gz").write_bytes(b"damaged")
    delete(world, execution)

    assert world.remove() == 0

    assert (world.outputs / execution.id / "a.txt").exists()
    assert "could not be removed" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove everything")
def test_what_cannot_be_removed_is_tried_again(world) -> None:
    """A directory without the right to write in it."""
    execution = world.ended(ExecutionStatus.FAILED)
    directory: Path = world.outputs / execution.id / "deep"
    directory.chmod(0o500)
    delete(world, execution)
    try:
        world.remove()
        assert len(world.records.open_removals(site="00000001", limit=10)) == 1
    finally:
        directory.chmod(0o700)


def test_pauses_grow_up_to_six_hours() -> None:
    """Half a minute, a minute, and so on; a store that is away for a week is not asked all the time."""
    assert [pause_after(tries).total_seconds() for tries in (1, 2, 3)] == [30, 60, 120]
    assert pause_after(100) == LONGEST_PAUSE


def test_what_the_store_takes_after_an_outage_is_removed_as_well(world, monkeypatch) -> None:
    """However often a removal had failed: requests that were in flight may succeed when the store is back."""
    execution = world.running()
    world.store.put(f"outputs/{execution.id}/half.bin", b"half")
    listed = world.store.list

    def away(_prefix: str = ""):
        raise NetworkError("the store does not answer")

    monkeypatch.setattr(world.store, "list", away)
    world.end(execution, ExecutionStatus.CANCELLED)
    world.remove()
    monkeypatch.setattr(world.store, "list", listed)
    world.clock.pass_by(pause_after(1).total_seconds())
    assert world.remove() == 1
    world.store.put(f"outputs/{execution.id}/late.bin", b"late")

    world.clock.pass_by(AFTERWARDS.total_seconds())
    assert world.remove() == 1
    assert world.objects() == []
    assert world.records.open_removals(site="00000001", limit=9) == []
