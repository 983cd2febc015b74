"""The mapping in force, against a real Azurite."""

import hashlib
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from medtech.dotnet import ticks
from medtech.errors import ErrorType, MappingInvalid, MappingIssue, StorageUnavailable, Unavailable
from medtech.mapping.device import load_device_mapping
from medtech.mapping.fhir import load_fhir_mapping
from medtech.mapping.in_force import LOOK_SECONDS, TABLE, MappingStore
from medtech.mapping.source import MappingKind, MappingSource
from medtech.storage.connection import Storage
from tests.azurite import Azurite, Wire, free_ports

ROOT = Path(__file__).parents[2]


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
    state = instance.store.current().state
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
    state = instance.store.current().state
    assert state.in_force is None
    assert told in state.issues[0].message


def test_inspecting_puts_nothing_in_force(storage: Storage, source: Path) -> None:
    source.write_text("one")
    state = Instance(storage, source).store.inspect()
    assert (state.in_force, state.issues, state.unavailable) == (None, [], None)
    assert list(storage.table(TABLE).query("PartitionKey ne ''")) == []


def test_inspecting_tells_what_the_next_look_would_refuse(storage: Storage, source: Path) -> None:
    source.write_text("one")
    Instance(storage, source).look()
    source.write_text("bad text")
    state = Instance(storage, source).store.inspect()
    assert (state.in_force, len(state.issues)) == (hashlib.sha256(b"one").hexdigest(), 2)
    assert Instance(storage, source).store.stored() == "compiled one"


def test_inspecting_tells_that_this_version_cannot_load_what_is_in_force(storage: Storage, source: Path) -> None:
    source.write_text("one")
    Instance(storage, source).look()

    def load_nothing(text: str) -> str:
        raise MappingInvalid(ErrorType.DEVICE_TEMPLATE, [MappingIssue("It is too new.", None, "", -1, -1)])

    with pytest.raises(Unavailable, match=r"does not load in this version of the app: It is too new\."):
        MappingStore("device", str(source), load_nothing, storage).inspect()


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
    assert [(issue.line, issue.position) for issue in instance.store.current().state.issues] == [(3, 14), (4, 14)]


def test_an_instance_that_starts_with_a_broken_source_works_by_the_last_good_one(
    storage: Storage, source: Path
) -> None:
    source.write_text("one")
    Instance(storage, source).look()
    source.write_text("bad text")
    fresh = Instance(storage, source)
    assert fresh.look() == "compiled one"
    assert len(fresh.store.current().state.issues) == 2


def test_a_source_that_vanishes_leaves_the_last_good_one_in_force(storage: Storage, source: Path) -> None:
    source.write_text("one")
    Instance(storage, source).look()
    source.unlink()
    fresh = Instance(storage, source)
    assert fresh.look() == "compiled one"
    assert "cannot be read" in fresh.store.current().state.issues[0].message


def test_a_fixed_mapping_comes_into_force_and_its_issues_go(storage: Storage, source: Path) -> None:
    source.write_text("bad text")
    instance = Instance(storage, source)
    assert instance.look() is None
    source.write_text("one")
    assert instance.look() == "compiled one"
    assert instance.store.current().state.issues == []


def test_a_broken_text_taken_back_leaves_no_issues(storage: Storage, source: Path) -> None:
    source.write_text("one")
    instance = Instance(storage, source)
    instance.look()
    source.write_text("bad text")
    instance.look()
    source.write_text("one")
    assert instance.look() == "compiled one"
    assert instance.store.current().state.issues == []


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
    assert old.store.current().state == new.store.current().state


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


def offered(path: Path, text: str, minutes: float) -> Path:
    """The file of a deployment that was built then, after this checkout of the app."""
    path.write_text(text)
    built = time.time() + 60 * minutes
    os.utime(path, (built, built))
    return path


def row_of(storage: Storage) -> dict[str, Any]:
    return storage.table(TABLE).get("device", "in-force") or {}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("first", ["old", "new"])
def test_in_a_rolling_deployment_the_newer_mapping_stays_in_force(
    storage: Storage, tmp_path: Path, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = (
        Instance(storage, offered(tmp_path / name, name, minutes)) for name, minutes in (("old", 1), ("new", 2))
    )
    for instance in (old, new) if first == "old" else (new, old):
        instance.look()
    written = row_of(storage)["etag"]
    for instance in (old, new, new, old, old):
        assert instance.look() == "compiled new"
    assert row_of(storage)["etag"] == written
    state = old.store.current().state
    assert state.held_back is not None and "mapping accept --kind device" in state.held_back
    assert new.store.current().state.held_back is None
    assert warnings(caplog) == [state.held_back]


def test_a_mapping_as_old_as_the_one_in_force_is_held_back(storage: Storage, tmp_path: Path) -> None:
    """Neither is newer: each would take the mapping from the other for ever."""
    built = offered(tmp_path / "one", "one", 1).stat().st_mtime_ns
    offered(tmp_path / "two", "two", 1)
    os.utime(tmp_path / "two", ns=(built, built))
    one, two = Instance(storage, tmp_path / "one"), Instance(storage, tmp_path / "two")
    assert [instance.look() for instance in (one, two, one, two)] == ["compiled one"] * 4
    assert two.store.current().state.held_back


def test_a_source_that_changes_under_an_instance_is_newer_whatever_its_clock(storage: Storage, source: Path) -> None:
    instance = Instance(storage, offered(source, "one", 1))
    instance.look()
    built = source.stat().st_mtime_ns
    source.write_text("two")
    os.utime(source, ns=(built, built))
    assert instance.look() == "compiled two"


@pytest.mark.parametrize("written", [0, 315_532_800, time.time() + 400 * 86_400], ids=["1970", "1980", "next year"])
def test_packages_without_a_time_count_from_when_they_were_first_seen(
    storage: Storage, azurite: str, tmp_path: Path, written: float
) -> None:
    """`function_app.py` has the package's time too: the app is copied, as a tool would pack it."""
    package = tmp_path / "package"
    shutil.copytree(ROOT / "medtech", package / "medtech", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("function_app.py", "one", "two"):
        (package / name).write_text(name)
        os.utime(package / name, (written, written))
    look = (
        "import sys; from medtech.mapping.in_force import MappingStore; from medtech.storage.connection import Storage;"
        "print(MappingStore('device', sys.argv[1], str.upper, Storage()).in_force())"
    )
    environment = {**os.environ, "BufferStorage": azurite}
    seen = [
        subprocess.run(
            [sys.executable, "-c", look, name], cwd=package, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("one", "two", "one", "two")
    ]
    assert seen == ["ONE", "TWO", "TWO", "TWO"]


def test_the_text_in_force_built_again_is_as_new_as_its_last_build(storage: Storage, tmp_path: Path) -> None:
    one = Instance(storage, offered(tmp_path / "one", "one", 1))
    one.look()
    offered(tmp_path / "one", "one", 3)
    one.look()
    since = row_of(storage)["since"]
    between = Instance(storage, offered(tmp_path / "two", "two", 2))
    assert between.look() == "compiled one"
    assert row_of(storage)["since"] == since


def test_a_newer_text_that_is_refused_is_told_once_beside_instances_with_the_old_one(
    storage: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = Instance(storage, offered(tmp_path / "old", "old", 1)), Instance(storage, tmp_path / "new")
    offered(tmp_path / "new", "bad text", 2)
    for instance in (old, new, old, new, old):
        assert instance.look() == "compiled old"
    assert len(warnings(caplog)) == 1
    assert row_of(storage)["refused"] == hashlib.sha256(b"bad text").hexdigest()
    assert old.store.current().state.issues == new.store.current().state.issues != []


def test_of_two_refused_texts_the_newer_ones_faults_stay(
    storage: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ("good", "bad one", "bad two")
    good, one, two = (
        Instance(storage, offered(tmp_path / text, text, minutes)) for minutes, text in enumerate(texts, 1)
    )
    for instance in (good, one, two, one, two, good):
        instance.look()
    assert "bad two" in good.store.current().state.issues[0].message
    assert len(warnings(caplog)) == 2
    offered(tmp_path / "good", "good", 5)
    good.look()
    assert good.store.current().state.issues == []


@pytest.mark.parametrize("minutes", [-1, 60], ids=["built before", "built where clocks are ahead"])
def test_sources_that_are_missing_in_two_deployments_are_told_once_each(
    storage: Storage, tmp_path: Path, minutes: int, caplog: pytest.LogCaptureFixture
) -> None:
    good = Instance(storage, offered(tmp_path / "good", "good", minutes))
    absent = [Instance(storage, tmp_path / name) for name in ("a", "b")]
    for instance in (good, *absent, good, *absent, *absent):
        assert instance.look() == "compiled good"
    assert len(warnings(caplog)) == 2


def test_what_the_version_before_merges_into_the_row_is_older_than_any_time(storage: Storage, tmp_path: Path) -> None:
    """It knows no times, and leaves those of the text that it displaces."""
    new = Instance(storage, offered(tmp_path / "new", "new", 1))
    new.look()
    old_hash = hashlib.sha256(b"old").hexdigest()
    text = {"PartitionKey": "device", "RowKey": f"text|{old_hash}", "parts": 1, "p00": zlib.compress(b"old")}
    storage.table(TABLE).upsert(text)
    row = {"PartitionKey": "device", "RowKey": "in-force", "in_force": old_hash, "refused": "of another message"}
    storage.table(TABLE).upsert(row | {"since": "2022-03-12T12:00:00.0000000Z"}, merge=True)
    assert new.look() == "compiled new"
    assert new.store.current().state.issues == []


def test_a_rollback_is_accepted_and_stays_until_a_newer_text_is_offered(storage: Storage, tmp_path: Path) -> None:
    old, new = (
        Instance(storage, offered(tmp_path / name, name, minutes)) for name, minutes in (("old", 1), ("new", 2))
    )
    old.look()
    new.look()
    accepted = old.store.accept()
    assert [accepted.before, accepted.text] == [hashlib.sha256(text).hexdigest() for text in (b"new", b"old")]
    for instance in (new, old, new):
        assert instance.look() == "compiled old"
    assert (old.store.current().state.held_back, bool(new.store.current().state.held_back)) == (None, True)
    offered(tmp_path / "new", "newest", 3)
    assert (new.look(), old.look()) == ("compiled newest", "compiled newest")


def test_a_broken_text_is_not_accepted(storage: Storage, tmp_path: Path) -> None:
    Instance(storage, offered(tmp_path / "new", "new", 2)).look()
    before = row_of(storage)
    with pytest.raises(MappingInvalid):
        Instance(storage, offered(tmp_path / "old", "bad", 1)).store.accept()
    assert row_of(storage) == before


def test_an_instance_that_writes_at_the_same_time_does_not_keep_a_text_from_being_accepted(
    wire: Wire, tmp_path: Path
) -> None:
    Instance(wire.storage, offered(tmp_path / "new", "new", 2)).look()
    newest = Instance(wire.storage, offered(tmp_path / "newest", "newest", 3))
    wire.tables.before_forwarding(lambda request: newest.look() and None, when=lambda request: "$batch" in request.path)
    assert Instance(wire.storage, offered(tmp_path / "old", "old", 1)).store.accept().before == _hash("newest")
    assert newest.look() == "compiled old"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
    assert "cannot be reached" in (instance.store.current().state.unavailable or "")


def test_storage_that_is_away_later_leaves_the_mapping_in_force(tmp_path: Path, source: Path) -> None:
    server = Azurite(tmp_path / "azurite")
    server.start()
    try:
        source.write_text("one")
        instance = Instance(Storage(environment={"BufferStorage": server.connection_string}), source)
        instance.look()
        server.stop()
        assert instance.look() == "compiled one"
        assert "cannot be reached" in (instance.store.current().state.unavailable or "")
        server.start()
        source.write_text("two")
        assert instance.look() == "compiled two"
        assert instance.store.current().state.unavailable is None
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


def test_a_blob_is_as_old_as_its_last_modification(storage: Storage, source: Path) -> None:
    blob = MappingStore("device", _upload(storage, "blob"), Loader(), storage, Clock())
    assert blob.in_force() == "compiled blob"
    offer = MappingSource("device", _upload(storage, "blob"), storage).read()
    assert offer.time is not None and abs(offer.time - ticks.now()) < 60 * ticks.TICKS_PER_SECOND
    later = Instance(storage, offered(source, "file", 5))
    assert later.look() == "compiled file"
    fresh = MappingStore("device", _upload(storage, "blob"), Loader(), storage, Clock())
    assert fresh.in_force() == "compiled file"
    assert fresh.current().state.held_back


def test_a_blob_that_is_not_there_was_never_good(storage: Storage) -> None:
    address = _upload(storage, "one").replace("device.json", "absent.json")
    store = MappingStore("device", address, Loader(), storage)
    assert store.in_force() is None
    assert "There is no blob" in store.current().state.issues[0].message


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
    state = store.current().state
    assert "cannot be reached" in (state.unavailable or "")
    assert "secret" not in repr(state)
