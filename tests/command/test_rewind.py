"""`python -m medtech rewind` as an operator calls it, against a real Azurite and the local namespace."""

import gc
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from azure.storage.blob import ContainerClient
from click.testing import Result
from typer.testing import CliRunner

from dev.checkpoints import Checkpoint, CheckpointStore
from dev.namespace import KEY, NAMESPACE, connection_string
from medtech.checkpoints import blobs as checkpoint_blobs
from medtech.checkpoints import hub
from medtech.checkpoints.blobs import CONTAINER, CheckpointBlobs
from medtech.command.line import app
from tests.azurite import ACCOUNT_KEY
from tests.dev.conftest import SampleHost, start  # noqa: F401 - fixture
from tests.dev.test_event_hubs import HUB, OTHER_KEY, Namespace, in_front_of
from tests.event_hubs_client import LEAVES_SOCKETS, wait_for_threads
from tests.faults import FaultProxy, ProxiedRequest

pytestmark = LEAVES_SOCKETS

GROUP = "$Default"
"""No function of the sample app reads it."""
MORNING = datetime(2026, 3, 2, 8, tzinfo=UTC)
NO_STORAGE = (
    f"AccountName=a;AccountKey={ACCOUNT_KEY};TableEndpoint=http://127.0.0.1:1/a;BlobEndpoint=http://127.0.0.1:1/a"
)
AT_THREE = "2026-03-02T08:03:00Z"


def put(host: SampleHost, partition: str, times: list[datetime]) -> None:
    host.post_events([{"body": "{}", "partition": partition, "enqueuedTime": each.isoformat()} for each in times])


@pytest.fixture(scope="module", autouse=True)
def threads_end_here() -> Iterator[None]:
    yield
    wait_for_threads()


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory, azurite: str) -> Iterator[Namespace]:
    """Partitions 0, 1 and 2 have an event a minute, of ten; partition 3 has none."""
    with (
        SampleHost(tmp_path_factory.mktemp("host"), azurite) as host,
        in_front_of(host, tmp_path_factory.mktemp("namespace")) as front,
    ):
        for partition in "012":
            put(host, partition, [MORNING + timedelta(minutes=n) for n in range(10)])
        yield front


class Group:
    """The blobs of the consumer group."""

    def __init__(self, storage: str) -> None:
        self.container = ContainerClient.from_connection_string(storage, CONTAINER)
        self.store = CheckpointStore(self.container, NAMESPACE, HUB, GROUP, "host-1")

    def clear(self) -> None:
        for blob in self.container.list_blob_names(name_starts_with=f"{NAMESPACE}/"):
            self.container.delete_blob(blob)

    def metadata(self, partition: str, kind: str = "checkpoint") -> dict[str, str]:
        blob = self.container.get_blob_client(f"{NAMESPACE}/{HUB}/{GROUP}/{kind}/{partition}".lower())
        return blob.get_blob_properties().metadata

    def put_metadata(self, partition: str, metadata: dict[str, str]) -> None:
        self.store.write(partition, Checkpoint("", 1))
        blob = self.container.get_blob_client(f"{NAMESPACE}/{HUB}/{GROUP}/checkpoint/{partition}".lower())
        blob.set_blob_metadata(metadata)


@pytest.fixture
def group(hubs: Namespace, azurite: str, monkeypatch: pytest.MonkeyPatch) -> Group:
    """All partitions with events are read, and nobody holds them; the command's settings are these."""
    for name, value in settings(hubs.connection_string, azurite).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("EventHubConnection__fullyQualifiedNamespace", raising=False)
    made = Group(azurite)
    if made.container.exists():
        made.clear()
    for partition in "012":
        made.store.own(partition)
        made.store.write(partition, Checkpoint("777", 9))
        made.store.disown(partition)
    return made


def settings(connection: str, storage: str) -> dict[str, str]:
    return {
        "EventHubConnection": connection,
        "EVENT_HUB_NAME": HUB,
        "EVENT_HUB_CONSUMER_GROUP": GROUP,
        "AzureWebJobsStorage": storage,
    }


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["rewind", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def document(*arguments: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call(*arguments, "--json", code=code).stdout)
    return found


def step(found: dict[str, Any], partition: str) -> dict[str, Any]:
    [one] = [each for each in found["partitions"] if each["partition"] == partition]
    return one


def test_every_checkpoint_goes_before_the_first_event_of_the_time(group: Group) -> None:
    found = document("--to", AT_THREE)
    assert (found["events"], found["eventHub"], found["consumerGroup"]) == (21, HUB, GROUP)
    assert step(found, "0") == {
        "partition": "0",
        "outcome": "set back",
        "checkpoint": 9,
        "becomes": 2,
        "events": 7,
        "first": "2026-03-02T08:03:00.000Z",
        "last": "2026-03-02T08:09:00.000Z",
        "heldFrom": None,
    }
    for partition in "012":
        assert group.metadata(partition) == {
            "offset": "",
            "sequencenumber": "2",
            "clientidentifier": "medtech-rewind",
        }
        assert group.store.read(partition) == Checkpoint("", 2)
    assert step(found, "3")["outcome"] == "left: it has no checkpoint, and nothing was read"


def test_a_terminal_of_80_columns_shows_all_of_the_table(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = call("--to", AT_THREE, "--dry-run").stdout
    assert "…" not in shown
    assert ["0", "9", "2", "7"] in [line.split()[:4] for line in shown.splitlines()]


def test_the_offset_of_another_time_zone_counts(group: Group) -> None:
    assert document("--to", "2026-03-02T09:03:00+01:00", "--dry-run")["events"] == 21


def test_a_time_before_the_first_event_is_the_start_of_the_partition(group: Group) -> None:
    found = document("--to", "2026-03-01T00:00Z", "--partition", "1")
    assert (step(found, "1")["becomes"], step(found, "1")["heldFrom"]) == (-1, None)
    assert group.metadata("1") == {"offset": "-1", "sequencenumber": "-1", "clientidentifier": "medtech-rewind"}
    assert group.metadata("0")["sequencenumber"] == "9"


def test_a_checkpoint_never_goes_forward(group: Group) -> None:
    group.store.write("0", Checkpoint("", 1))
    found = document("--to", AT_THREE)
    assert step(found, "0")["outcome"] == "left: it is earlier already"
    assert group.store.read("0") == Checkpoint("", 1)
    assert document("--to", AT_THREE)["events"] == 0


def test_only_what_was_done_comes_again(group: Group) -> None:
    """Events 6 to 9 of the partition are yet to be read."""
    group.store.write("0", Checkpoint("", 5))
    found = step(document("--to", AT_THREE), "0")
    assert (found["events"], found["last"]) == (3, "2026-03-02T08:05:00.000Z")


def test_nothing_came_since(group: Group) -> None:
    found = document("--hours", "0.5")
    assert {each["outcome"] for each in found["partitions"][:3]} == {"left: no event came since then"}
    assert group.metadata("0")["sequencenumber"] == "9"


def test_a_checkpoint_of_a_hub_that_was_created_anew_is_brought_back_into_it(group: Group) -> None:
    group.store.write("0", Checkpoint("", 5000))
    found = step(document("--to", AT_THREE), "0")
    assert (found["becomes"], found["events"], found["last"]) == (2, 7, "2026-03-02T08:09:00.000Z")


def test_a_dry_run_writes_nothing(group: Group) -> None:
    said = call("--to", AT_THREE, "--dry-run").stdout
    assert f"21 events of 2026-03-02T08:03:00.000Z and later would come again in consumer group {GROUP}." in said
    assert "Nothing was written." in said
    assert group.metadata("0") == {"offset": "777", "sequencenumber": "9", "clientidentifier": "host-1"}


def test_it_says_what_to_do_then(group: Group) -> None:
    said = call("--to", AT_THREE).stdout
    assert "21 events of 2026-03-02T08:03:00.000Z and later come again" in said
    assert "az functionapp start" in said


@pytest.mark.parametrize("dry_run", [False, True])
def test_while_an_instance_holds_a_partition(group: Group, dry_run: bool) -> None:
    group.store.own("1")
    if dry_run:
        assert document("--to", AT_THREE, "--dry-run")["held"] == ["1"]
    else:
        said = call("--to", AT_THREE, "--partition", "0", code=1).stderr
        assert f"hold partitions of consumer group {GROUP}: 1." in said
        assert "az functionapp stop" in said
    assert group.metadata("0")["sequencenumber"] == "9"


def test_what_nobody_has_renewed_is_free(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    group.store.own("1")
    monkeypatch.setattr(checkpoint_blobs, "OWNERSHIP_SECONDS", -1)
    assert document("--to", AT_THREE)["events"] == 21


def test_a_checkpoint_that_moves_meanwhile_is_left(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    def set_back_late(
        blobs: CheckpointBlobs, *arguments: Any, set_back: Callable[..., bool] = CheckpointBlobs.set_back
    ) -> bool:
        if arguments[0].partition == "1":
            group.store.write("1", Checkpoint("", 8))
            group.store.own("1")
        return set_back(blobs, *arguments)

    monkeypatch.setattr(CheckpointBlobs, "set_back", set_back_late)
    found = document("--to", AT_THREE, code=1)
    assert step(found, "1")["outcome"] == "left: its checkpoint changed in the meantime"
    assert (found["events"], found["held"]) == (14, ["1"])
    assert group.store.read("1") == Checkpoint("", 8)
    monkeypatch.undo()


def test_a_checkpoint_that_moved_is_not_passed_over_in_what_it_says(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckpointBlobs, "set_back", lambda blobs, checkpoint, number: checkpoint.partition != "1")
    said = call("--to", AT_THREE, code=1).stdout
    assert "these partitions in the meantime: 1." in said
    assert "call this again" in said
    assert "az functionapp start" not in said


@pytest.mark.parametrize("number", ["x", "", "1.5", "-7", "9" * 19, "9" * 5000])
def test_a_checkpoint_that_says_nothing_is_left(group: Group, number: str) -> None:
    group.put_metadata("0", {"offset": "no offset", "sequencenumber": number})
    found = document("--to", AT_THREE)
    assert step(found, "0")["outcome"] == "left: its checkpoint has no sequence number"
    assert found["events"] == 14


def test_names_of_metadata_are_in_any_case_and_others_do_not_count(group: Group) -> None:
    group.put_metadata("0", {"SequenceNumber": "9", "other": "1"})
    group.put_metadata("1", {})
    group.store.write("99", Checkpoint("", 4))
    group.container.upload_blob(f"{NAMESPACE}/{HUB}/{GROUP}/checkpoint/0/more".lower(), b"", overwrite=True)
    found = document("--to", AT_THREE)
    assert [each["partition"] for each in found["partitions"]] == ["0", "1", "2", "3"]
    assert (step(found, "0")["events"], step(found, "1")["events"]) == (7, 0)
    assert group.store.read("99") == Checkpoint("", 4)


def test_a_partition_that_does_not_exist(group: Group) -> None:
    said = call("--to", AT_THREE, "--partition", "4", code=1).stderr
    assert said == "The hub has no partition 4: it has 0, 1, 2, 3.\n"


def test_a_consumer_group_that_does_not_exist(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_HUB_CONSUMER_GROUP", "nobodys")
    store = CheckpointStore(group.container, NAMESPACE, HUB, "nobodys", "host-1")
    store.write("0", Checkpoint("", 9))
    assert "consumer group nobodys. Check" in call("--to", AT_THREE, code=1).stderr


def test_a_consumer_group_that_was_never_read(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    group.clear()
    found = document("--to", AT_THREE)
    assert {each["outcome"] for each in found["partitions"]} == {"left: it has no checkpoint, and nothing was read"}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("EVENT_HUB_NAME", "nobody", "has no hub nobody"),
        ("EVENT_HUB_NAME", " ", "EVENT_HUB_NAME is not set"),
        ("EventHubConnection", "", "EventHubConnection is not set"),
        ("EventHubConnection", "secret", "EventHubConnection is not a connection string"),
        ("EventHubConnection", "Endpoint=sb://secret.example.org", "is not a connection string of Event Hubs"),
        ("AzureWebJobsStorage", "secret", "AzureWebJobsStorage is not a storage connection string"),
        ("AzureWebJobsStorage", NO_STORAGE, "cannot be reached"),
    ],
)
def test_settings_that_name_nothing(
    group: Group, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    said = call("--to", AT_THREE, code=1).stderr
    assert reason in said
    assert "secret" not in said


def test_another_key(group: Group, hubs: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EventHubConnection", hubs.connection_string.replace(KEY, OTHER_KEY))
    said = call("--to", AT_THREE, code=1).stderr
    assert "AuthenticationError" in said
    assert OTHER_KEY not in said


def test_the_hub_is_away(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_PAUSES_SECONDS", (0.0, 0.0))
    monkeypatch.setenv(
        "EventHubConnection",
        f"Endpoint=sb://{NAMESPACE}:1;SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true",
    )
    assert "cannot be asked (ConnectError)" in call("--to", AT_THREE, code=1).stderr


class Relay:
    """Passes connections on to a port, but for those that `breaks` picks by their number: they end at once."""

    def __init__(self, port: int, breaks: Callable[[int], bool]) -> None:
        self.connections = 0

        class Handler(socketserver.BaseRequestHandler):
            def handle(handler) -> None:  # noqa: N805 - the relay is `self`
                self.connections += 1
                if breaks(self.connections):
                    return
                with socket.create_connection(("127.0.0.1", port)) as there:
                    back = threading.Thread(target=_pass_on, args=(there, handler.request))
                    back.start()
                    _pass_on(handler.request, there)
                    back.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def leaking() -> Iterator[None]:
    """azure-eventhub leaves the socket open of a connection that breaks off while it is made."""
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.usefixtures("leaking")
def test_a_hub_that_breaks_off_every_other_time_is_asked_again(
    group: Group, hubs: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_PAUSES_SECONDS", (0.0, 0.0))
    with Relay(hubs.amqp_port, lambda number: number % 2 == 1) as relay:
        monkeypatch.setenv("EventHubConnection", connection_string(relay.port))
        found = document("--to", AT_THREE, "--partition", "0")
    assert (step(found, "0")["outcome"], step(found, "0")["events"]) == ("set back", 7)
    assert relay.connections >= 6


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.usefixtures("leaking")
def test_a_hub_that_breaks_off_each_time_is_not_asked_for_ever(
    group: Group, hubs: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_PAUSES_SECONDS", (0.0, 0.0))
    with Relay(hubs.amqp_port, lambda number: True) as relay:
        monkeypatch.setenv("EventHubConnection", connection_string(relay.port))
        assert "cannot be asked" in call("--to", AT_THREE, code=1).stderr
    assert relay.connections == 3
    assert group.metadata("0")["sequencenumber"] == "9"


@pytest.fixture
def blobs(azurite: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Between the command and its storage."""
    parts = dict(part.split("=", 1) for part in azurite.split(";") if part)
    address = urlsplit(parts["BlobEndpoint"])
    with FaultProxy(f"http://{address.netloc}") as proxy:
        parts["BlobEndpoint"] = f"{proxy.url}{address.path}"
        monkeypatch.setenv("AzureWebJobsStorage", ";".join(f"{name}={value}" for name, value in parts.items()))
        yield proxy


def _sets_back(request: ProxiedRequest) -> bool:
    return request.method == "PUT" and "comp=metadata" in request.path


@pytest.mark.parametrize("fault", ["busy", "answer lost"])
def test_storage_that_fails_once_is_asked_again(group: Group, blobs: FaultProxy, fault: str) -> None:
    if fault == "busy":
        blobs.answer(503, times=1)
        blobs.answer(503, when=_sets_back, times=1)
    else:
        blobs.cut_after(when=_sets_back)
    found = document("--to", AT_THREE)
    assert [each["outcome"] for each in found["partitions"]][:3] == ["set back"] * 3
    assert {group.metadata(partition)["sequencenumber"] for partition in "012"} == {"2"}


def test_a_hub_in_the_connection_string_is_the_one_that_is_read(
    group: Group, hubs: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EventHubConnection", f"{hubs.connection_string};EntityPath={HUB}")
    monkeypatch.setenv("EVENT_HUB_NAME", "another")
    assert document("--to", AT_THREE, "--dry-run")["events"] == 21


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "either --to TIME or --hours N"),
        (("--to", AT_THREE, "--hours", "1"), "either --to TIME or --hours N"),
        (("--to", "yesterday"), "must be as"),
        (("--to", "2026-03-02T08:00:00"), "no offset"),
        (("--to", "2026-03-02"), "no offset"),
        (("--to", "9999-12-31T23:00:00-10:00"), "must be as"),
        (("--to", "9999-01-01T00:00:00Z"), "yet to come"),
        (("--hours", "0"), "more than 0"),
        (("--hours", "nan"), "more than 0"),
        (("--hours", "1e9"), "more than 0"),
    ],
)
def test_times_that_cannot_be_understood(arguments: tuple[str, ...], reason: str) -> None:
    assert reason in " ".join(call(*arguments, code=2).stderr.replace("│", " ").split())


def test_what_the_hub_no_longer_holds(
    start: Callable[..., SampleHost],  # noqa: F811 - the fixture
    azurite: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = start(retention_hours=5)
    with in_front_of(host, tmp_path / "namespace") as front:
        group = Group(azurite)
        if group.container.exists():
            group.clear()
        for name, value in settings(front.connection_string, azurite).items():
            monkeypatch.setenv(name, value)
        now = datetime.now(UTC).replace(microsecond=0)
        put(host, "0", [now - timedelta(hours=hours) for hours in (7, 6, 3, 1)])
        put(host, "1", [now - timedelta(hours=hours) for hours in (7, 6)])
        for partition, number in (("0", 3), ("1", 1)):
            group.store.write(partition, Checkpoint("", number))
        arguments = ("--to", (now - timedelta(hours=6, minutes=30)).isoformat())
        said = call(*arguments, "--dry-run").stdout
        found = document(*arguments)
        oldest = (now - timedelta(hours=3)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert step(found, "0") | {"first": oldest, "heldFrom": oldest, "becomes": 1, "events": 2} == step(found, "0")
        assert step(found, "1")["outcome"] == "left: the hub holds no event any more"
        assert f"Partition 0: the hub holds events from {oldest} on. What came before, `python -m medtech backf" in said
