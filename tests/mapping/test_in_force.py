"""The mapping in force, against a real Azurite."""

import hashlib
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from medtech.errors import ErrorType, MappingInvalid, MappingIssue, StorageUnavailable, Unavailable
from medtech.mapping.device import load_device_mapping
from medtech.mapping.fhir import load_fhir_mapping
from medtech.mapping.in_force import LOOK_SECONDS, TABLE, MappingKind, MappingStore
from medtech.storage.connection import Storage
from tests.azurite import Azurite, free_ports


@dataclass
class Loader:
    """Loads any text that does not begin with "bad"; remembers what it was given."""

    loaded: list[str] = field(default_factory=list)

    def __call__(self, text: str) -> str:
        self.loaded.append(text)
        if text.startswith("bad"):
            issue = MappingIssue(f"`{text}` is not a mapping.", 0, "/template/0", 3, 14)
            raise MappingInvalid(ErrorType.DEVICE_TEMPLATE, [issue, issue._replace(line=4)])
        return f"compiled {text}"


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def next_look(self) -> None:
        self.seconds += LOOK_SECONDS


@dataclass
class Instance:
    """One process of the app: a store with a source, a clock and a loader of its own."""

    storage: Storage
    source: Path
    clock: Clock = field(default_factory=Clock)
    loader: Loader = field(default_factory=Loader)

    def __post_init__(self) -> None:
        self.store = MappingStore("device", str(self.source), self.loader, self.storage, self.clock)

    def look(self) -> str | None:
        self.clock.next_look()
        return self.store.in_force()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "deviceMapping.json"


def test_a_good_mapping_comes_into_force(storage: Storage, source: Path) -> None:
    source.write_text("one")
    instance = Instance(storage, source)
    assert instance.store.in_force() == "compiled one"
    state = instance.store.state()
    assert state.in_force is not None and len(state.in_force) == 64 and state.since is not None
    assert (state.kind, state.source, state.issues, state.unavailable) == ("device", str(source), [], None)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.write_text("bad text"), "`bad text` is not a mapping."),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not UTF-8"),
        (lambda path: path.write_text(" " * (32 * 1024 * 1024 + 1)), "too large"),
        (lambda path: path.write_text(random.Random(1).randbytes(1_000_000).hex()), "too large"),
    ],
    ids=["missing", "broken", "encoding", "too large unpacked", "too large packed"],
)
def test_without_a_good_mapping_there_is_none_in_force(
    storage: Storage, source: Path, write: Callable[[Path], object], told: str
) -> None:
    write(source)
    instance = Instance(storage, source)
    assert instance.store.in_force() is None
    state = instance.store.state()
    assert state.in_force is None
    assert told in state.issues[0].message


def test_a_mapping_that_an_earlier_version_stored_stays_in_force(storage: Storage, source: Path) -> None:
    text_hash = hashlib.sha256(b"one").hexdigest()
    row = {"in_force": text_hash, "since": "2022-03-12T12:00:00.0000000Z", "refused": "", "parts": 1}
    table = storage.table(TABLE)
    table.upsert({"PartitionKey": "device", "RowKey": "in-force", **row, "p00": zlib.compress(b"[]")})
    text = {"parts": 2, "p00": zlib.compress(b"one")[:5], "p01": zlib.compress(b"one")[5:]}
    table.upsert({"PartitionKey": "device", "RowKey": f"text|{text_hash}", **text})
    assert Instance(storage, source).look() == "compiled one"


def test_the_source_is_looked_at_every_30_seconds(storage: Storage, source: Path) -> None:
    source.write_text("one")
    instance = Instance(storage, source)
    assert instance.store.in_force() == "compiled one"
    source.write_text("two")
    instance.clock.seconds += LOOK_SECONDS - 1
    assert instance.store.in_force() == "compiled one"
    instance.clock.seconds += 1
    assert instance.store.in_force() == "compiled two"


def test_a_mapping_broken_later_leaves_the_last_good_one_in_force(storage: Storage, source: Path) -> None:
    source.write_text("one")
    instance = Instance(storage, source)
    instance.look()
    source.write_text("bad text")
    assert instance.look() == "compiled one"
    assert [(issue.line, issue.position) for issue in instance.store.state().issues] == [(3, 14), (4, 14)]


def test_an_instance_that_starts_with_a_broken_source_works_by_the_last_good_one(
    storage: Storage, source: Path
) -> None:
    source.write_text("one")
    Instance(storage, source).look()
    source.write_text("bad text")
    fresh = Instance(storage, source)
    assert fresh.look() == "compiled one"
    assert len(fresh.store.state().issues) == 2


def test_a_source_that_vanishes_leaves_the_last_good_one_in_force(storage: Storage, source: Path) -> None:
    source.write_text("one")
    Instance(storage, source).look()
    source.unlink()
    fresh = Instance(storage, source)
    assert fresh.look() == "compiled one"
    assert "cannot be read" in fresh.store.state().issues[0].message


def test_a_fixed_mapping_comes_into_force_and_its_issues_go(storage: Storage, source: Path) -> None:
    source.write_text("bad text")
    instance = Instance(storage, source)
    assert instance.look() is None
    source.write_text("one")
    assert instance.look() == "compiled one"
    assert instance.store.state().issues == []


def test_a_broken_text_taken_back_leaves_no_issues(storage: Storage, source: Path) -> None:
    source.write_text("one")
    instance = Instance(storage, source)
    instance.look()
    source.write_text("bad text")
    instance.look()
    source.write_text("one")
    assert instance.look() == "compiled one"
    assert instance.store.state().issues == []


@pytest.mark.parametrize(
    ("kind", "loader", "name", "file"),
    [
        ("device", load_device_mapping, "deviceMapping", "deviceMapping.json"),
        ("fhir", load_fhir_mapping, "fhirMapping", "fhirDestinationMapping.json"),
    ],
)
def test_a_resource_of_azure_is_a_source(
    storage: Storage, source: Path, kind: MappingKind, loader: Callable[[str], Any], name: str, file: str
) -> None:
    content = json.loads((Path(__file__).parents[2] / "mappings" / file).read_text())
    resource = {"id": "/subscriptions/s", "properties": {name: {"content": content}}}
    source.write_text(json.dumps(resource))
    mapping = MappingStore(kind, str(source), loader, storage).in_force()
    assert mapping is not None
    assert len(mapping.templates) == len(content["template"])


def test_a_refused_text_is_not_compiled_again_at_each_look(storage: Storage, source: Path) -> None:
    source.write_text("bad text")
    instance = Instance(storage, source)
    for _ in range(3):
        instance.look()
    assert instance.loader.loaded == ["bad text"]


def test_an_unchanged_text_is_compiled_once(storage: Storage, source: Path) -> None:
    source.write_text("one")
    instance = Instance(storage, source)
    for _ in range(3):
        instance.look()
    assert instance.loader.loaded == ["one"]


def test_every_instance_works_by_the_row(storage: Storage, tmp_path: Path) -> None:
    old, new = Instance(storage, tmp_path / "shared"), Instance(storage, tmp_path / "shared")
    (tmp_path / "shared").write_text("one")
    assert (old.look(), new.look()) == ("compiled one", "compiled one")
    (tmp_path / "shared").write_text("two")
    assert new.look() == "compiled two"
    assert old.look() == "compiled two"
    assert old.store.state() == new.store.state()


def test_of_two_instances_that_start_at_once_both_work_by_what_the_first_wrote(
    storage: Storage, tmp_path: Path
) -> None:
    (tmp_path / "one").write_text("one")
    (tmp_path / "two").write_text("two")
    first = Instance(storage, tmp_path / "one")

    class LoadsWhileTheFirstIsFaster(Loader):
        def __call__(self, text: str) -> str:
            if text == "two":
                first.look()
            return super().__call__(text)

    second = Instance(storage, tmp_path / "two", loader=LoadsWhileTheFirstIsFaster())
    assert second.look() == "compiled one"


def test_the_kinds_do_not_meet(storage: Storage, source: Path) -> None:
    source.write_text("one")
    Instance(storage, source).look()
    fhir = MappingStore("fhir", str(source.with_name("absent")), Loader(), storage)
    assert fhir.in_force() is None


def test_storage_that_is_away_at_the_start_does_not_mean_a_missing_mapping(source: Path) -> None:
    [port] = free_ports(1)
    connection = f"AccountName=a;AccountKey=YQ==;TableEndpoint=http://127.0.0.1:{port}/a"
    source.write_text("one")
    instance = Instance(Storage(environment={"BufferStorage": connection}), source)
    with pytest.raises(StorageUnavailable):
        instance.store.in_force()
    assert "cannot be reached" in (instance.store.state().unavailable or "")


def test_storage_that_is_away_later_leaves_the_mapping_in_force(tmp_path: Path, source: Path) -> None:
    server = Azurite(tmp_path / "azurite")
    server.start()
    try:
        source.write_text("one")
        instance = Instance(Storage(environment={"BufferStorage": server.connection_string}), source)
        instance.look()
        server.stop()
        assert instance.look() == "compiled one"
        assert "cannot be reached" in (instance.store.state().unavailable or "")
        server.start()
        source.write_text("two")
        assert instance.look() == "compiled two"
        assert instance.store.state().unavailable is None
    finally:
        server.stop()


def test_a_mapping_in_force_that_this_version_cannot_load_makes_events_wait(storage: Storage, source: Path) -> None:
    source.write_text("one")
    Instance(storage, source).look()
    source.unlink()

    def refuses_all(text: str) -> str:
        raise MappingInvalid(ErrorType.DEVICE_TEMPLATE, [MappingIssue("No.", None, "", 1, 1)])

    with pytest.raises(Unavailable, match="does not load in this version"):
        MappingStore("device", str(source), refuses_all, storage).in_force()


def _upload(storage: Storage, text: str) -> str:
    container = storage.container("mappings")
    if not container.exists():
        container.create_container()
    blob = container.upload_blob("device.json", text.encode(), overwrite=True)
    return str(blob.url)


def test_a_blob_is_a_source(storage: Storage) -> None:
    address = _upload(storage, "\ufeffone")
    clock = Clock()
    store = MappingStore("device", address, Loader(), storage, clock)
    assert store.in_force() == "compiled one"
    _upload(storage, "two")
    clock.next_look()
    assert store.in_force() == "compiled two"


def test_a_blob_that_is_not_there_was_never_good(storage: Storage) -> None:
    address = _upload(storage, "one").replace("device.json", "absent.json")
    store = MappingStore("device", address, Loader(), storage)
    assert store.in_force() is None
    assert "There is no blob" in store.state().issues[0].message


def test_a_blob_that_cannot_be_reached_makes_events_wait_if_none_was_ever_good(storage: Storage) -> None:
    [port] = free_ports(1)
    address = f"http://127.0.0.1:{port}/account/mappings/device.json?sv=1&sig=secret"
    with pytest.raises(StorageUnavailable) as away:
        MappingStore("device", address, Loader(), storage).in_force()
    assert "secret" not in away.value.message


def test_a_blob_that_cannot_be_reached_leaves_the_last_good_one_in_force(storage: Storage, source: Path) -> None:
    source.write_text("one")
    Instance(storage, source).look()
    [port] = free_ports(1)
    address = f"http://127.0.0.1:{port}/account/mappings/device.json?sv=1&sig=secret"
    store = MappingStore("device", address, Loader(), storage)
    assert store.in_force() == "compiled one"
    state = store.state()
    assert "cannot be reached" in (state.unavailable or "")
    assert "secret" not in repr(state)
