"""What health says of an app whose parts are well, or fail one at a time."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from medtech.entra import AppIdentity
from medtech.errors import FhirServerUnavailable, StorageUnavailable
from medtech.flush.tally import Tally
from medtech.group.accounts import Accounts
from medtech.health import probes
from medtech.health.document import of_health
from medtech.health.look import STORAGE_TIMEOUTS
from medtech.health.part import Health, State
from medtech.ingest.attempts import pack_suspects
from medtech.ingest.suspects import Suspect, Suspects
from medtech.persist.credentials import EntraCredentials
from medtech.storage.connection import Storage
from medtech.storage.further import SETTING
from tests.accounts import Lists
from tests.azurite import ACCOUNT_KEY, free_ports
from tests.faults import ProxiedRequest
from tests.health.scene import DEVICE, FHIR, NOW, SECOND, SECRET, Scene
from tests.identity_endpoint import SYSTEM_ASSIGNED, IdentityEndpoint
from tests.oauth2_endpoint import OAuth2Endpoint

BROKEN = '{"templateType": "CollectionContent"}'


def states(health: Health) -> dict[str, State]:
    """Of the parts that are not ok."""
    return {part.name: part.state for part in health.parts if part.state is not State.OK}


def test_all_is_well(scene: Scene) -> None:
    scene.run_app()
    health = scene.look()
    assert (health.state, states(health)) == (State.OK, {})
    assert [part.name for part in health.parts] == [
        "hub",
        "storage",
        "deviceMapping",
        "fhirMapping",
        "identity",
        "fhirServer",
        "oldestWindow",
        "lastFlush",
    ]


def test_an_app_that_has_just_been_deployed_is_not_down(scene: Scene) -> None:
    health = scene.look()
    assert (health.state, states(health)) == (
        State.WARNING,
        {"hub": State.WARNING, "lastFlush": State.WARNING},
    )


def test_that_the_app_compares_and_does_not_write_is_told(scene: Scene) -> None:
    scene.run_app()
    scene.buffer(NOW - 25 * 60 * SECOND)
    assert "writes nothing" not in scene.part(probes.FHIR_SERVER).message
    assert scene.part(probes.OLDEST_WINDOW).state is State.WARNING
    part = scene.part(probes.FHIR_SERVER, fhir_write="compare")
    assert (part.state, part.facts["writes"]) == (State.OK, False)
    assert "compares and writes nothing" in part.message
    # What is absent waits for the other service.
    assert scene.part(probes.OLDEST_WINDOW, fhir_write="compare").state is State.OK


@pytest.mark.parametrize("started", [False, True])
def test_a_look_writes_nothing(scene: Scene, started: bool) -> None:
    if started:
        scene.run_app()
    for proxy in (scene.tables, scene.blobs, scene.fhir):
        proxy.clear()
    scene.look()
    asked = [*scene.tables.requests, *scene.blobs.requests, *scene.fhir.requests]
    assert {_what_it_does(request) for request in asked} == {"GET"}


def _what_it_does(request: ProxiedRequest) -> str:
    """The method, or those of the entries of a batch."""
    return "/".join(sorted(set(request.bundle_methods))) or request.method.replace("HEAD", "GET")


def test_storage_that_is_away_is_told_once(scene: Scene) -> None:
    scene.run_app()
    scene.tables.cut_before(times=None)
    scene.blobs.cut_before(times=None)
    health = scene.look()
    assert states(health) == {
        "storage": State.DOWN,
        **dict.fromkeys(["hub", "deviceMapping", "fhirMapping", "oldestWindow", "lastFlush"], State.UNKNOWN),
    }
    [message] = [part.message for part in health.parts if part.state is State.DOWN]
    assert "cannot be reached" in message


def test_blobs_that_are_closed_to_the_app_are_down_though_tables_are_not(scene: Scene) -> None:
    scene.run_app()
    scene.blobs.answer(403, times=None)
    part = scene.part(probes.STORAGE)
    assert part.state is State.DOWN
    assert "Storage Blob Data Owner" in part.message


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "FHIR_AUTHENTICATION"), (401, "FHIR_AUTHENTICATION"), (404, "base address"), (503, "answered 503")],
)
def test_a_fhir_server_that_does_not_let_the_app_in_is_down(scene: Scene, status: int, said: str) -> None:
    scene.fhir.answer(status, times=None)
    part = scene.part(probes.FHIR_SERVER)
    assert part.state is State.DOWN
    assert said in part.message


@pytest.mark.parametrize(("status", "said"), [(403, "FHIR Data Writer"), (401, "FHIR_AUDIENCE")])
def test_a_fhir_server_that_refuses_the_identity_says_what_it_needs(
    scene: Scene, endpoint: IdentityEndpoint, status: int, said: str
) -> None:
    endpoint.assigned = [SYSTEM_ASSIGNED]
    scene.fhir.answer(status, times=None)
    assert said in scene.part(probes.FHIR_SERVER).message


def test_a_fhir_server_that_answers_anybody_for_its_capabilities_but_denies_the_app_is_down(scene: Scene) -> None:
    scene.fhir.answer(403, when=lambda request: not request.path.endswith("/metadata"), times=None)
    assert scene.part(probes.FHIR_SERVER).state is State.DOWN


@pytest.mark.parametrize("profile", ["strict", "no-batch", "hapi"])
def test_servers_of_each_kind_are_ok(scene: Scene, fhir_profile: object, profile: str) -> None:
    assert callable(fhir_profile)
    scene.url = fhir_profile(profile)
    assert scene.part(probes.FHIR_SERVER).state is State.OK


def test_an_address_that_is_missing_is_the_fhir_servers_fault_and_not_the_identitys(scene: Scene) -> None:
    scene.run_app()
    scene.url = ""
    health = scene.look()
    assert states(health) == {"identity": State.UNKNOWN, "fhirServer": State.DOWN}


@pytest.fixture
def endpoint(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityEndpoint]:
    """The scene's FHIR server is asked with a token of the app's identity."""
    with IdentityEndpoint() as endpoint:
        for name, value in endpoint.environment().items():
            monkeypatch.setenv(name, value)
        scene.credentials = EntraCredentials("https://fhir.example", AppIdentity.of(os.environ).credential)
        yield endpoint


def test_an_identity_with_a_token_is_ok(scene: Scene, endpoint: IdentityEndpoint) -> None:
    endpoint.assigned = [SYSTEM_ASSIGNED]
    part = scene.part(probes.IDENTITY)
    assert (part.state, endpoint.resources) == (State.OK, {"https://fhir.example"})


def test_an_identity_without_a_token_is_down_and_the_server_is_not_asked(
    scene: Scene, endpoint: IdentityEndpoint
) -> None:
    scene.run_app()
    health = scene.look()
    assert states(health) == {"identity": State.DOWN, "fhirServer": State.UNKNOWN}
    assert scene.fhir.requests == []


def test_a_token_service_that_hangs_is_down_in_time(scene: Scene, endpoint: IdentityEndpoint) -> None:
    scene.run_app()
    endpoint.silent = True
    assert states(scene.look(seconds=2.0)) == {"identity": State.DOWN, "fhirServer": State.UNKNOWN}


BASIC = {"fhir_authentication": "basic", "fhir_username": "app", "fhir_password": SECRET}


@pytest.fixture
def token_endpoint(scene: Scene) -> Iterator[OAuth2Endpoint]:
    """The scene's FHIR server takes its tokens."""
    with OAuth2Endpoint() as endpoint:
        endpoint.secrets["app"] = SECRET
        scene.fhir.guard(endpoint.accepts)
        yield endpoint


def by_secret(endpoint: OAuth2Endpoint) -> dict[str, str]:
    return {
        "fhir_authentication": "client_credentials",
        "fhir_token_url": endpoint.token_url,
        "fhir_client_id": "app",
        "fhir_client_secret": SECRET,
    }


def test_a_user_whom_the_fhir_server_does_not_know_is_the_servers_part(scene: Scene) -> None:
    scene.run_app()
    assert states(scene.look(**BASIC)) == {}
    scene.fhir.guard(lambda authorization: False)
    health = scene.look(**BASIC)
    assert states(health) == {"fhirServer": State.DOWN}
    assert "FHIR_USERNAME and FHIR_PASSWORD" in json.dumps(of_health(health))
    assert SECRET not in json.dumps(of_health(health))


def test_a_token_endpoint_that_gives_a_token_is_ok(scene: Scene, token_endpoint: OAuth2Endpoint) -> None:
    scene.run_app()
    health = scene.look(**by_secret(token_endpoint))
    assert states(health) == {}
    assert "The token endpoint gives a token for the FHIR server." in [part.message for part in health.parts]


def test_a_token_endpoint_that_does_not_know_the_app_is_down_and_the_server_is_not_asked(
    scene: Scene, token_endpoint: OAuth2Endpoint
) -> None:
    scene.run_app()
    token_endpoint.secrets.clear()
    health = scene.look(**by_secret(token_endpoint))
    assert states(health) == {"identity": State.DOWN, "fhirServer": State.UNKNOWN}
    assert "invalid_client" in json.dumps(of_health(health))
    assert SECRET not in json.dumps(of_health(health))
    assert scene.fhir.requests == []


def test_a_token_endpoint_that_hangs_is_down_in_time(scene: Scene, token_endpoint: OAuth2Endpoint) -> None:
    scene.run_app()
    token_endpoint.silent = True
    health = scene.look(seconds=3.0, **by_secret(token_endpoint))
    assert states(health) == {"identity": State.DOWN, "fhirServer": State.UNKNOWN}


def test_servers_that_hang_are_down_within_the_time_for_a_look(scene: Scene) -> None:
    scene.run_app()
    for proxy in (scene.tables, scene.blobs, scene.fhir):
        proxy.delay(60, times=None)
    started = time.monotonic()
    health = scene.look(seconds=3.0)
    assert time.monotonic() - started < 30
    found = states(health)
    assert (found["storage"], found["fhirServer"]) == (State.DOWN, State.DOWN)
    assert any(part.message.startswith("No answer within 3 s.") for part in health.parts)


def test_a_mapping_that_was_never_good_is_down_with_its_first_error(scene: Scene, tmp_path: Path) -> None:
    scene.device_mapping = scene.older(tmp_path, BROKEN)
    part = scene.part(probes.DEVICE_MAPPING)
    assert part.state is State.DOWN
    assert "There has never been a good one. line 1, position" in part.message
    assert "every message is kept as a dead letter" in part.message


def test_a_newer_mapping_that_is_refused_is_a_warning(scene: Scene, tmp_path: Path) -> None:
    scene.run_app()
    broken = tmp_path / "broken.json"
    broken.write_text(BROKEN)
    scene.fhir_mapping = str(broken)
    part = scene.part(probes.FHIR_MAPPING)
    assert (part.state, part.facts["newerRefused"]) == (State.WARNING, True)
    assert "is in force since" in part.message


def test_an_older_mapping_of_this_deployment_is_held_back(scene: Scene, tmp_path: Path) -> None:
    scene.run_app()
    scene.device_mapping = scene.older(tmp_path, DEVICE.read_text().replace('"heartRate"', '"pulse"'))
    part = scene.part(probes.DEVICE_MAPPING)
    assert (part.state, part.facts["heldBack"]) == (State.WARNING, True)
    assert "mapping accept --kind device" in part.message


def test_a_source_that_is_away_is_told_without_its_signature(scene: Scene) -> None:
    scene.run_app()
    scene.fhir_mapping = "http://127.0.0.1:9/mappings/fhir.json?sig=SECRET"
    part = scene.part(probes.FHIR_MAPPING)
    assert part.state is State.WARNING
    assert "SECRET" not in json.dumps(of_health(scene.look()))


def test_the_hub_is_seen_by_its_last_event(scene: Scene) -> None:
    scene.arrive(NOW - 40 * SECOND, "0")
    scene.arrive(NOW - 3 * SECOND, "2")
    part = scene.part(probes.HUB)
    assert (part.state, part.message) == (State.OK, "The last event was enqueued 3 s ago.")
    assert (part.facts["partitions"], part.facts["behindSeconds"]) == (2, 0)


def test_a_partition_that_is_read_late_is_a_warning(scene: Scene) -> None:
    scene.arrive(NOW - 3 * SECOND, "0")
    scene.arrive(NOW - 900 * SECOND, "2", read=NOW - 60 * SECOND)
    part = scene.part(probes.HUB)
    assert (part.state, part.facts["behindSeconds"]) == (State.WARNING, 840)


def test_devices_that_are_silent_for_a_day_are_a_warning(scene: Scene) -> None:
    scene.arrive(NOW - 30 * 3600 * SECOND)
    part = scene.part(probes.HUB)
    assert part.state is State.WARNING
    assert part.message.startswith("No event for 30 h.")


def test_a_partition_on_which_the_process_ended_is_a_warning(scene: Scene) -> None:
    scene.run_app()
    suspects = Suspects((Suspect(1, 9, NOW, deaths=1),))
    row = {"PartitionKey": "0a1b2c3d", "RowKey": "0003", "written": "2022-09-28T22:00:00Z"}
    scene.app.table("attempts").upsert(row | pack_suspects(suspects))
    part = scene.part(probes.HUB)
    assert part.state is State.WARNING
    assert "partition 3," in part.message


def test_a_window_that_is_not_due_is_ok(scene: Scene) -> None:
    scene.buffer(NOW - 10 * SECOND)
    part = scene.part(probes.OLDEST_WINDOW)
    assert (part.state, part.facts["overdueSeconds"]) == (State.OK, 0)


def test_a_window_that_should_have_been_flushed_is_a_warning(scene: Scene) -> None:
    scene.buffer(NOW - 3600 * SECOND)
    part = scene.part(probes.OLDEST_WINDOW)
    assert part.state is State.WARNING
    # From 22:13:20 an hour back, to the start of its 300 s, and 315 s until it was due.
    assert (part.facts["start"], part.facts["overdueSeconds"]) == ("2022-09-28T21:10:00.0000000Z", 3485)


def test_a_flush_that_is_held_up_is_a_warning_that_says_why(scene: Scene) -> None:
    scene.flushed(Tally(windows=1, waiting=3, held_up_by=[FhirServerUnavailable("It answered 503.")]))
    part = scene.part(probes.LAST_FLUSH)
    assert part.state is State.WARNING
    assert part.message == "The last flush ended 5 s ago, held up. It answered 503."
    assert part.facts["waiting"] == 3


def test_no_flush_for_long_is_down(scene: Scene) -> None:
    scene.flushed(ago_seconds=700)
    part = scene.part(probes.LAST_FLUSH)
    assert part.state is State.DOWN
    assert "FLUSH_SCHEDULE" in part.message


def test_an_answer_holds_neither_secrets_nor_readings(scene: Scene, azurite: str) -> None:
    scene.run_app()
    scene.buffer(NOW - 3600 * SECOND)
    password = {"fhir_authentication": "basic", "fhir_username": "app", "fhir_password": "SECRET"}
    said = json.dumps(of_health(scene.look(**password)))
    key = dict(part.split("=", 1) for part in azurite.split(";") if part)["AccountKey"]
    for secret in (key, "SECRET", "d1", "p1", FHIR.read_text()[:40]):
        assert secret not in said


def test_further_accounts_are_looked_at_too(lists: Lists) -> None:
    lists.both().store([])
    part = probes.storage(lists.storage(lists.second_account))
    assert (part.state, part.message) == (
        State.OK,
        "Tables and blobs can be read. The buffer's further accounts (1) can be reached.",
    )


def test_a_further_account_that_is_away_is_named(lists: Lists) -> None:
    away = f"AccountName=account;AccountKey={ACCOUNT_KEY};TableEndpoint=http://127.0.0.1:{free_ports(1)[0]}/account"
    storage = Storage(environment={"BufferStorage": lists.first, SETTING: away}, timeouts=STORAGE_TIMEOUTS)
    told = r"Account 127\.0\.0\.1:\d+/account of BufferStorage__furtherAccounts: Storage"
    with pytest.raises(StorageUnavailable, match=told):
        probes.storage(storage)


def test_an_account_that_is_taken_off_the_list_too_early_is_a_warning(lists: Lists) -> None:
    Accounts(lists.storage(lists.second_account)).note(1)
    part = probes.storage(lists.storage())
    assert part.state is State.WARNING
    assert part.message.startswith("Readings may wait in storage account 127.0.0.1:")
