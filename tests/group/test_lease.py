"""The lease on a shard, against a real Azurite."""

import threading
import time
from collections.abc import Callable

import pytest

from medtech.errors import StorageUnavailable
from medtech.group import lease
from medtech.group.lease import ShardLease
from medtech.storage import Storage
from tests.azurite import free_ports


def _becomes(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_one_instance_holds_a_shard(storage: Storage) -> None:
    with ShardLease(storage, 1) as ours, ShardLease(storage, 1) as theirs, ShardLease(storage, 2) as other:
        assert ours.acquire() and ours.held
        assert not theirs.acquire() and not theirs.held
        assert other.acquire()


def test_a_released_shard_can_be_held_by_another(storage: Storage) -> None:
    with ShardLease(storage, 1) as ours:
        assert ours.acquire()
    assert not ours.held
    with ShardLease(storage, 1) as theirs:
        assert theirs.acquire()


def test_a_broken_lease_is_seen_to_be_lost(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.storage.blob import BlobLeaseClient

    monkeypatch.setattr(lease, "_RENEW_SECONDS", 0.05)
    with ShardLease(storage, 1) as ours:
        assert ours.acquire()
        BlobLeaseClient(storage.container(lease.CONTAINER).get_blob_client("shard-001")).break_lease(0)
        assert _becomes(lambda: not ours.held)


def test_a_lease_is_renewed(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_RENEW_SECONDS", 0.05)
    with ShardLease(storage, 1) as ours:
        assert ours.acquire()
        until = ours._held_until
        assert _becomes(lambda: ours._held_until > until)


def test_a_lease_that_cannot_be_renewed_ends_by_the_clock(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_MARGIN_SECONDS", float(lease.LEASE_SECONDS))
    with ShardLease(storage, 1) as ours:
        assert ours.acquire()
        assert not ours.held


def test_release_ends_the_thread(storage: Storage) -> None:
    with ShardLease(storage, 1) as ours:
        assert ours.acquire()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease-")]


def test_storage_that_is_away_is_told(storage: Storage) -> None:
    [port] = free_ports(1)
    connection = f"AccountName=a;AccountKey=YQ==;BlobEndpoint=http://127.0.0.1:{port}/a"
    with pytest.raises(StorageUnavailable), ShardLease(Storage(environment={"BufferStorage": connection}), 1) as ours:
        ours.acquire()
