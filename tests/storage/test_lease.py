"""The blob lease, against a real Azurite and over a wire that breaks."""

import threading
import time

import pytest
from azure.storage.blob import BlobLeaseClient

from medtech.errors import StorageUnavailable
from medtech.storage import lease
from medtech.storage.connection import Storage
from medtech.storage.lease import Lease
from tests.azurite import Wire, nobody
from tests.faults import FaultProxy, ProxiedRequest

# How long a test waits for another thread before it fails.
PATIENCE_SECONDS = 60
AT_ONCE = 0.001


@pytest.fixture
def library_tables() -> bool:
    """Leases are of blobs alone."""
    return False


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def acquired(storage: Storage, clock: Clock | None = None, renew_seconds: float = AT_ONCE) -> Lease:
    ours = lease.acquire(storage, "work", monotonic=clock or time.monotonic, renew_seconds=renew_seconds)
    assert ours is not None
    return ours


def renews(request: ProxiedRequest) -> bool:
    return request.headers.get("x-ms-lease-action") == "renew"


def await_renewals(proxy: FaultProxy) -> None:
    """Returns when a renewal that was asked for after this call has had its answer, or its fault.

    The first to come may have been asked for before, the second was not, and the third follows the second's answer.
    """
    seen = sum(map(renews, list(proxy.requests)))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sum(map(renews, list(proxy.requests))) < seen + 3:
        assert time.monotonic() < deadline, "the lease is not renewed"
        time.sleep(0.01)


def renewer() -> threading.Thread:
    [thread] = [thread for thread in threading.enumerate() if thread.name == "lease-work"]
    return thread


def test_one_instance_holds_a_lease(storage: Storage) -> None:
    with acquired(storage) as ours:
        assert ours.held
        assert lease.acquire(storage, "work") is None
        other = lease.acquire(storage, "other work")
        assert other is not None
        other.release()


def test_a_released_lease_can_be_held_by_another(storage: Storage) -> None:
    with acquired(storage) as ours:
        pass
    assert not ours.held
    with acquired(storage) as theirs:
        assert theirs.held and not ours.held


def test_release_ends_the_renewer(storage: Storage) -> None:
    with acquired(storage, renew_seconds=3600):
        thread = renewer()
    assert not thread.is_alive()


def test_a_lease_is_renewed_again_and_again(wire: Wire) -> None:
    clock = Clock()
    with acquired(wire.storage, clock) as ours:
        for _ in range(4):
            clock.seconds += lease.LEASE_SECONDS / 2
            await_renewals(wire.blobs)
            assert ours.held


def test_a_lease_that_another_broke_is_lost(storage: Storage) -> None:
    with acquired(storage) as ours:
        thread = renewer()
        BlobLeaseClient(storage.container(lease.CONTAINER).get_blob_client("work")).break_lease(0)
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
        assert not ours.held


def test_a_lease_whose_renewals_are_cut_off_is_lost_before_the_server_ends_it(wire: Wire) -> None:
    clock = Clock()
    wire.blobs.cut_before(when=renews, times=None)
    with acquired(wire.storage, clock) as ours:
        clock.seconds += lease.LEASE_SECONDS / 2
        await_renewals(wire.blobs)
        assert ours.held
        clock.seconds += lease.LEASE_SECONDS / 2 - 1
        assert not ours.held


def test_a_lease_survives_renewals_that_are_cut_off_for_a_moment(wire: Wire) -> None:
    clock = Clock()
    wire.blobs.cut_before(when=renews, times=3)
    with acquired(wire.storage, clock) as ours:
        await_renewals(wire.blobs)
        clock.seconds += lease.LEASE_SECONDS / 2
        await_renewals(wire.blobs)
        clock.seconds += lease.LEASE_SECONDS / 2
        assert ours.held


def test_a_renewal_that_is_never_answered_keeps_neither_the_lease_nor_its_release_nor_its_thread(wire: Wire) -> None:
    clock, asked, answer = Clock(), threading.Event(), threading.Event()

    def hang(request: ProxiedRequest) -> None:
        asked.set()
        answer.wait()

    wire.blobs.before_forwarding(hang, when=renews, times=None)
    with acquired(wire.storage, clock) as ours:
        thread = renewer()
        assert asked.wait(PATIENCE_SECONDS)
        assert ours.held
        clock.seconds += lease.LEASE_SECONDS
        assert not ours.held
        started = time.monotonic()
    # A client that waits as long as other calls do, and tries as often, takes 105 s.
    assert time.monotonic() - started < 30
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "the renewal waits for its answer for ever"
    answer.set()
    assert not ours.held
    with acquired(wire.storage) as theirs:
        assert theirs.held


def test_storage_that_is_away_is_told() -> None:
    with pytest.raises(StorageUnavailable, match="lease `work`"):
        lease.acquire(nobody(), "work")
