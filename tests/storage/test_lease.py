"""The blob lease, against a real Azurite and over a wire that breaks."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import AccountSasPermissions, BlobLeaseClient, ResourceTypes, generate_account_sas

from medtech.errors import StorageUnavailable
from medtech.storage import lease
from medtech.storage.connection import Storage
from medtech.storage.lease import Lease
from tests.azurite import ACCOUNT_KEY, Wire, nobody
from tests.faults import FaultProxy, ProxiedRequest

# How long a test waits for another thread before it fails.
PATIENCE_SECONDS = 60
AT_ONCE = 0.001


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


def test_a_lease_whose_first_answer_was_lost_is_asked_for_again_and_held(wire: Wire) -> None:
    """Else nobody could work for a minute, by a lease that nobody knows to hold."""
    with acquired(wire.storage):
        pass
    wire.blobs.cut_after(when=lambda request: request.headers.get("x-ms-lease-action") == "acquire")
    with acquired(wire.storage) as ours:
        assert ours.held


@pytest.mark.parametrize("status", [200, 202, 302, 404, 405, 409, 412, 503])
def test_a_page_of_a_gateway_does_not_pass_for_a_lease(wire: Wire, status: int) -> None:
    with acquired(wire.storage):
        pass
    wire.blobs.answer(status, b"<html>Sign in</html>", {"Content-Type": "text/html"}, times=None)
    with pytest.raises(StorageUnavailable, match="lease `work`"):
        lease.acquire(wire.storage, "work")


def test_a_container_that_is_being_deleted_is_away_until_it_can_be_made_again(wire: Wire) -> None:
    """As "Delete Container" documents: 409 to who makes it again, 404 to all else, for half a minute."""
    missing = {"x-ms-error-code": "ContainerNotFound"}
    wire.blobs.answer(404, headers=missing, when=lambda request: "restype=" not in request.path, times=2)
    wire.blobs.answer(409, headers={"x-ms-error-code": "ContainerBeingDeleted"}, when=lambda it: "restype=" in it.path)
    with pytest.raises(StorageUnavailable, match="being deleted"):
        lease.acquire(wire.storage, "work")
    wire.blobs.clear()
    with acquired(wire.storage) as ours:
        assert ours.held


def test_a_shared_access_signature_opens_leases(storage: Storage, azurite: str, through_library: bool) -> None:
    with acquired(storage):
        pass
    settings = dict(part.split("=", 1) for part in azurite.split(";") if part)
    signature = generate_account_sas(
        settings["AccountName"],
        settings["AccountKey"],
        resource_types=ResourceTypes(object=True),
        permission=AccountSasPermissions(write=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    endpoints = f"TableEndpoint={settings['TableEndpoint']};BlobEndpoint={settings['BlobEndpoint']}"
    connection = f"{endpoints};SharedAccessSignature={signature}"
    signed = Storage(environment={"BufferStorage": connection}, through_library=through_library)
    with acquired(signed):
        assert lease.acquire(storage, "work") is None
    with acquired(storage):
        assert lease.acquire(signed, "work") is None
    signed.close()


def test_a_wrong_key_is_a_denied_access(azurite: str, through_library: bool) -> None:
    settings = dict(part.split("=", 1) for part in azurite.split(";") if part) | {"AccountKey": ACCOUNT_KEY}
    connection = ";".join(f"{name}={value}" for name, value in settings.items())
    storage = Storage(environment={"BufferStorage": connection}, through_library=through_library)
    with pytest.raises(StorageUnavailable, match="denies access"):
        lease.acquire(storage, "work")
    storage.close()


def test_storage_that_is_away_is_told(through_library: bool) -> None:
    with pytest.raises(StorageUnavailable, match="lease `work`"):
        lease.acquire(nobody(through_library=through_library), "work")
