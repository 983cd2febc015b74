"""A move from an old service to the app, played on this machine under traffic, and the proof that nothing is lost.

The old service is a stand-in: the same app in the ways of the open-source connector (`SINGLE_VALUE_PERIOD=group`), on a
consumer group and a storage account of its own. The app is deployed beside it on the same hub and FHIR server. It is
driven as an operator drives it: by its settings, by stopping and starting it, and by `python -m medtech`.

In the start mapping no template has one Observation for an hour of single values. Here body temperature does, so that
the two settings of SINGLE_VALUE_PERIOD show.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import httpx

from dev.demo import DEVICES, QUICK_SETTINGS, SEED, put_people_and_devices
from dev.processes import ROOT
from dev.running_host import RunningHost
from dev.stack import LocalStack
from dev.written import Written, as_stored, observations
from medtech.command import traffic
from medtech.command.traffic import Reading
from medtech.dotnet import ticks
from medtech.group.buffer import Buffer
from medtech.storage.connection import Storage

OLD_CONSUMER_GROUP = "old-service"
NEW_CONSUMER_GROUP = "medtech"

GROUPED = "bodyTemperature"
"""The type whose readings of an hour the old service keeps in one Observation, which has the latest of them."""
RECODED = "heartRate"
"""The type to which a changed mapping gives another code."""

GRACE_SECONDS = 9
LONGEST_GRACE_SECONDS = 36
"""The grace is doubled while the old service is later than it, as it is on a machine that has much else to do."""
SECONDS_OF_DEVICES = 8
"""How much time goes by for the devices in a second of the demo."""
MESSAGES_A_MINUTE = 10
"""Of each device, by its own time."""
_LONGEST_SECONDS = 3600
SEND_SECONDS = 0.25

ENOUGH = 100
"""Observations that a step compares at least."""
PATIENCE_SECONDS = 60.0
"""How long a step waits without any progress."""
_SHOWN = 5

T = TypeVar("T")


class MigrationFailed(Exception):
    """A step did not show what it has to; the message says which, and what it showed."""


class Verdict(NamedTuple):
    """What is wrong with the stored readings, each thing as a text; nothing if every reading is there once."""

    lost: list[str]
    doubled: list[str]


def judge(sent: Iterable[Reading], written: Sequence[Written], passes: int) -> Verdict:
    """Holds what was sent against what is stored.

    Lost is a reading that no Observation holds. Doubled is one that two hold, one that is stored and was not sent (as
    the same reading in another slot), and an Observation with more versions than its readings explain: one for each
    reading that it holds, and for one that holds the latest of an hour, one for each reading of the hour in each of the
    `passes` in which the hub's events were written.
    """
    readings_of_hours: Counter[tuple[str, int]] = Counter()
    expected: set[Reading] = set()
    latest: dict[tuple[str, int], Reading] = {}
    for reading in sent:
        if reading.type == GROUPED:
            hour = reading.device_id, ticks.floor(reading.time, ticks.TICKS_PER_HOUR)
            readings_of_hours[hour] += 1
            latest[hour] = max(reading, latest.get(hour, reading), key=lambda each: each.time)
        else:
            expected.add(as_stored(reading))
    expected.update(reading._replace(time=start) for (_, start), reading in latest.items())
    stored = Counter(reading for each in written for reading in each.readings)
    doubled = [f"{_told(reading)}, {count} times" for reading, count in stored.items() if count > 1]
    doubled += [f"{_told(reading)}, which was not sent" for reading in stored if reading not in expected]
    for each in written:
        explained = len(each.readings)
        if each.type == GROUPED:
            [reading] = each.readings
            explained = passes * readings_of_hours[reading.device_id, reading.time]
        if each.version > explained:
            doubled.append(f"Observation/{each.id} has {each.version} versions, where {explained} are explained")
    return Verdict([_told(reading) for reading in expected if reading not in stored], doubled)


def _told(reading: Reading) -> str:
    return f"{reading.type} of {reading.device_id} at {ticks.format_iso(reading.time)}"


class Sent(NamedTuple):
    """A message's readings, and where in the hub it is."""

    partition: str
    sequence_number: int
    readings: Sequence[Reading]


class Traffic:
    """The demo's devices, which send all the while, as a context manager; it is there in which order things happen."""

    def __init__(self, hub_url: str) -> None:
        self._http = httpx.Client(base_url=hub_url, timeout=30)
        # Far enough back that no reading is of the future, and no farther than late readings usually are.
        start = ticks.now() - 55 * ticks.TICKS_PER_MINUTE
        self._messages = traffic.messages(DEVICES, MESSAGES_A_MINUTE, _LONGEST_SECONDS, start, SEED)
        self._start = start
        self._sent: list[Sent] = []
        self._lock = Lock()
        self._ending = Event()
        self._fault: Exception | None = None
        self._thread = Thread(target=self._run, name="traffic")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._http.close()

    @property
    def sent(self) -> list[Sent]:
        """All that the hub has accepted so far. Raises MigrationFailed if it has refused something."""
        if self._fault is not None:
            raise MigrationFailed(f"The hub does not take the traffic: {self._fault}")
        with self._lock:
            return list(self._sent)

    def stop(self) -> None:
        """Returns when everything is sent."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            while not self._ending.wait(SEND_SECONDS):
                passed = (time.monotonic() - began) * SECONDS_OF_DEVICES
                until = self._start + int(passed * ticks.TICKS_PER_SECOND)
                self._send(self._due(until))
        except (httpx.HTTPError, OSError) as error:
            self._fault = error

    def _due(self, until: int) -> list[traffic.Message]:
        """The messages until a time of the devices, and the first one after it."""
        due: list[traffic.Message] = []
        for message in self._messages:
            due.append(message)
            if message.time > until:
                break
        return due

    def _send(self, messages: Sequence[traffic.Message]) -> None:
        events = [{"body": message.body.decode(), "partitionKey": message.device_id} for message in messages]
        answer = self._http.post("/dev/events", json=events)
        answer.raise_for_status()
        positions = answer.json()["events"]
        with self._lock:
            self._sent += [
                Sent(position["partition"], position["sequenceNumber"], message.readings)
                for position, message in zip(positions, messages, strict=True)
            ]


class Compared(NamedTuple):
    """What `python -m medtech compare` has counted of a type, or of all."""

    compared: int = 0
    same: int = 0
    absent: int = 0
    different: int = 0


class MigrateDemo:
    """The move, step by step, a line for each."""

    def __init__(self, data_folder: Path, tell: Callable[[str], None]) -> None:
        """`tell` is given each line. Raises LocalRunFailed if a server cannot be started."""
        self._tell = tell
        self._old_mapping, self._new_mapping = (data_folder.resolve() / f"{name}-fhir.json" for name in ("old", "new"))
        self._open = ExitStack()
        settings = QUICK_SETTINGS | {
            "FHIR_MAPPING": str(self._old_mapping),
            "SINGLE_VALUE_PERIOD": "group",
            "EVENT_HUB_CONSUMER_GROUP": OLD_CONSUMER_GROUP,
        }
        # What was there before the app: the stack's own app is the old service.
        self._stack = LocalStack(data_folder, settings=settings, fresh=True, apps=["new"])
        self._old: RunningHost = self._stack
        self._passes = 1
        self._compared = 0
        self._grace_seconds = GRACE_SECONDS

    def __enter__(self) -> Self:
        """Everything up, the traffic under way, and the app beside the old service. Raises LocalRunFailed, and
        MigrationFailed if the old service does not write."""
        with ExitStack() as opened:
            opened.enter_context(self._stack)
            _write_mapping(self._old_mapping)
            _write_mapping(self._new_mapping)
            put_people_and_devices(self._stack.fhir_url)
            self._traffic = opened.enter_context(Traffic(self._stack.hub_url))
            self._old_service_writes()
            settings = {
                "EVENT_HUB_CONSUMER_GROUP": NEW_CONSUMER_GROUP,
                "FHIR_MAPPING": str(self._new_mapping),
                "FHIR_WRITE": "compare",
                "COMPARE_GRACE_MINUTES": str(self._grace_seconds / 60),
            }
            self._new = opened.enter_context(self._stack.app("new", settings))
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def play(self) -> bool:
        """The whole move; whether every reading is stored once. Raises MigrationFailed, LocalRunFailed."""
        self.compare("2. The app compares beside it, nothing changed")
        self.compare_by_reading()
        self.compare_another_code()
        self.compare_as_before()
        self.stop_old_service()
        self.write_instead()
        self.go_back()
        return self.end()

    def _old_service_writes(self) -> None:
        for stored in self._progress(self._stored_count):
            if stored >= ENOUGH:
                break
        else:
            raise MigrationFailed(f"1. The old service does not write: see {self._old.host.log_path}")
        sent = sum(len(each.readings) for each in self._traffic.sent)
        self._tell(f"1. The old service writes: {sent} readings sent, {stored} Observations stored")

    def compare(self, step: str) -> None:
        total = self._total(self._compare(step, lambda by_type: self._total(by_type.values()).same >= ENOUGH).values())
        self._compared += total.compared
        self._tell(f"{step}: {self._told(total)}")

    def compare_by_reading(self) -> None:
        step = "3. With SINGLE_VALUE_PERIOD=instant"
        self._change_new({"SINGLE_VALUE_PERIOD": "instant"})
        by_type = self._compare(step, lambda by_type: by_type.get(GROUPED, Compared()).absent > 0, but=GROUPED)
        grouped, total = by_type[GROUPED], self._total(by_type.values())
        if grouped.absent != grouped.compared:
            raise MigrationFailed(f"{step}, {GROUPED} is not absent throughout: {self._told(grouped)}.")
        self._tell(f"{step}: {self._told(total)}; absent are {GROUPED}, all {grouped.compared}, and no other type")

    def compare_another_code(self) -> None:
        step = f"4. With another code for {RECODED}"
        _write_mapping(self._new_mapping, code="40443-4")
        self._change_new({"SINGLE_VALUE_PERIOD": "group"})
        by_type = self._compare(step, lambda by_type: by_type.get(RECODED, Compared()).different > 0, but=RECODED)
        recoded, total = by_type[RECODED], self._total(by_type.values())
        elements = {element for each in self._differences() for element in each["elements"]}
        if recoded.different != recoded.compared or elements != {"code"}:
            raise MigrationFailed(
                f"{step}, {self._told(recoded)} of it, and the elements are {', '.join(sorted(elements)) or 'none'}."
            )
        self._tell(f"{step}: {self._told(total)}; different are {RECODED}, all {recoded.compared}, each in its code")

    def compare_as_before(self) -> None:
        _write_mapping(self._new_mapping)
        self._change_new({})
        self.compare("5. Back to the right settings")

    def stop_old_service(self) -> None:
        """Stops it with events that it has read and not written, and has the app compare until it gives up on them:
        then they are in no buffer, and behind both checkpoints."""
        self._old.host.stop()
        unfinished = self._unfinished()
        if not unfinished:
            raise MigrationFailed("6. The old service had written all that it had read, so the switch shows nothing.")
        by_type = self._wait_to_compare(lambda by_type: self._total(by_type.values()).absent >= len(unfinished))
        absent = self._total(by_type.values()).absent
        self._stopped_with = f"the old service had read {len(unfinished)} readings that it had not written, {absent}"

    def write_instead(self) -> None:
        """The switch of the app, past what the old service has left undone."""
        self._new.host.stop()
        self._new.change_settings({"FHIR_WRITE": "write"})
        again = self._rewind(self._new)
        self._new.start_host()
        self._wait_until_stored("6. After the switch")
        self._tell(
            f"6. Switched under traffic: {self._stopped_with} were absent; {again} events read again; all are stored"
        )

    def go_back(self) -> None:
        self._new.host.stop()
        self._new.change_settings({"FHIR_WRITE": "compare"})
        again = self._rewind(self._old)
        self._run("compare", "clear", "--yes", of=self._new)
        self._old.start_host()
        # What waits in the app's buffer is past its grace: it would be judged for good before the old service is there.
        self._wait_until_stored("7. Back")
        self._new.start_host()
        by_type = self._compare("7. Back", lambda by_type: self._total(by_type.values()).same > 0)
        total = self._total(by_type.values())
        self._compared += total.compared
        self._tell(f"7. And back: {again} events read again by the old service; {self._told(total)}")

    def end(self) -> bool:
        """Ends the traffic, and holds all that was sent against all that is stored."""
        self._traffic.stop()
        readings = [reading for each in self._traffic.sent for reading in each.readings]
        for written in self._progress(lambda: observations(self._stack.fhir_url)):
            lost, doubled = judge(readings, written, self._passes)
            if not lost:
                break
        self._tell(f"8. At the end: {len(readings)} readings sent, {len(written)} Observations stored")
        for what, found in (("lost", lost), ("doubled", doubled)):
            for each in sorted(found)[:_SHOWN]:
                self._tell(f"   {what}: {each}")
        self._tell(
            f"migrate-demo: compared {self._compared}, different 0, absent 0; switched; "
            f"lost {len(lost)}, doubled {len(doubled)}"
        )
        return not lost and not doubled

    # What the operator does.

    def _change_new(self, settings: Mapping[str, str]) -> None:
        """New settings for the app, which begins to compare anew."""
        self._new.host.stop()
        self._new.change_settings(settings)
        self._run("compare", "clear", "--yes", of=self._new)
        self._new.start_host()

    def _rewind(self, app: RunningHost) -> int:
        """Has a stopped app read the last hour again; returns how many events that are."""
        self._passes += 1
        answer: dict[str, Any] = json.loads(self._run("rewind", "--hours", "1", "--json", of=app))
        return int(answer["events"])

    def _comparison(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._run("compare", "--json", of=self._new, passing=(0, 1, 2)))
        return answer

    def _run(self, *arguments: str, of: RunningHost, passing: Sequence[int] = (0,)) -> str:
        """What a command of the app prints. Raises MigrationFailed if its exit code is another."""
        command = [sys.executable, "-m", "medtech", "--settings", str(of.settings_file), *arguments]
        environment = {name: value for name, value in os.environ.items() if name not in of.settings}
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode not in passing:
            told = f"{ended.stdout}{ended.stderr}".strip()
            raise MigrationFailed(f"`python -m medtech {' '.join(arguments)}` exits with {ended.returncode}: {told}")
        return ended.stdout

    # What there is to see.

    def _compare(
        self, step: str, enough: Callable[[dict[str, Compared]], bool], but: str | None = None
    ) -> dict[str, Compared]:
        """Counts by type, once there are enough; of each type `but` that one everything is the same.

        What differs only since the old service was later than the grace is compared anew, with a longer one. Raises
        MigrationFailed for anything else that differs.
        """
        while True:
            by_type = self._wait_to_compare(enough)
            others = [counted for name, counted in by_type.items() if name != but]
            told = "; ".join(self._told(each) for each in others if each.same != each.compared)
            if not told:
                return by_type
            found = [each for each in self._comparison()["differences"] if each["type"] != but]
            if self._grace_seconds >= LONGEST_GRACE_SECONDS or not self._are_stored_since(found):
                types = ", ".join(sorted({each["type"] for each in found}))
                raise MigrationFailed(f"{step}, not everything is the same of {types}: {told}.")
            self._grace_seconds *= 2
            self._tell(f"   {told}: stored since, so the old service is late; again with {self._grace_seconds} s")
            self._change_new({"COMPARE_GRACE_MINUTES": str(self._grace_seconds / 60)})

    def _are_stored_since(self, differences: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the old service writes all of these after they were judged."""
        waiting = self._progress(lambda: sum(not self._is_stored_since(each) for each in differences))
        return any(number == 0 for number in waiting)

    def _is_stored_since(self, difference: Mapping[str, Any]) -> bool:
        """Whether the Observation was written after it was judged."""
        answer = httpx.get(f"{self._stack.fhir_url}/Observation/{difference['observation']}")
        if answer.status_code == 404:
            return False
        answer.raise_for_status()
        written, judged = answer.json()["meta"]["lastUpdated"], difference["time"]
        return datetime.fromisoformat(written) >= datetime.fromisoformat(judged)

    def _wait_to_compare(self, enough: Callable[[dict[str, Compared]], bool]) -> dict[str, Compared]:
        """Counts by type, once there are enough, and all that was sent until now is judged for good."""
        sent, now = self._traffic.sent, ticks.now()
        by_type: dict[str, Compared] = {}
        for judged, by_type in self._progress(lambda: (self._are_judged(sent, now), self._counts())):
            if judged and self._total(by_type.values()).compared >= ENOUGH and enough(by_type):
                return by_type
        told = "; ".join(f"{name}: {self._told(counted)}" for name, counted in by_type.items())
        raise MigrationFailed(f"Comparing goes no further: {told or 'nothing was compared'}.")

    def _are_judged(self, sent: Sequence[Sent], until: int) -> bool:
        """Whether the app has read these messages and has none of a window of that time or before in its buffer."""
        last: dict[str, int] = {}
        for each in sent:
            last[each.partition] = max(each.sequence_number, last.get(each.partition, -1))
        state = self._new.hub_state()
        if any(min(state[name]["checkpoints"].values(), default=-1) < number for name, number in last.items()):
            return False
        with closing(Storage("AzureWebJobsStorage", self._new.settings)) as storage:
            buffer = Buffer(storage)
            return all(next(buffer.due_windows(shard, until, 0, 0), None) is None for shard in buffer.shards())

    def _counts(self) -> dict[str, Compared]:
        names = Compared._fields
        return {each["type"]: Compared(*(each[name] for name in names)) for each in self._comparison()["types"]}

    def _differences(self) -> list[dict[str, Any]]:
        differences: list[dict[str, Any]] = self._comparison()["differences"]
        return [each for each in differences if each["outcome"] == "different"]

    def _total(self, counted: Iterable[Compared]) -> Compared:
        return Compared(*(sum(each) for each in zip(Compared(), *counted, strict=True)))

    def _told(self, counted: Compared) -> str:
        return f"compared {counted.compared}, different {counted.different}, absent {counted.absent}"

    def _stored_count(self) -> int:
        return len(observations(self._stack.fhir_url))

    def _unfinished(self) -> set[Reading]:
        """Single readings that the old service has passed in the hub, and has not written."""
        checkpoints = self._stack.checkpoints()
        done: dict[str, int] = {}
        for partition in {each.partition for each in self._traffic.sent}:
            checkpoint = checkpoints.read(partition)
            done[partition] = -1 if checkpoint is None else checkpoint.sequence_number or -1
        return self._missing([each for each in self._traffic.sent if each.sequence_number <= done[each.partition]])

    def _missing(self, sent: Sequence[Sent]) -> set[Reading]:
        """Readings that no Observation holds, those aside of which there is only the latest of an hour."""
        readings = {as_stored(reading) for each in sent for reading in each.readings if reading.type != GROUPED}
        return readings.difference(*(each.readings for each in observations(self._stack.fhir_url)))

    def _wait_until_stored(self, step: str) -> None:
        """Returns once all that was sent until now is stored. Raises MigrationFailed if nothing more gets there."""
        sent = self._traffic.sent
        missing: set[Reading] = set()
        for missing in self._progress(lambda: self._missing(sent)):
            if not missing:
                return
        raise MigrationFailed(f"{step}, {len(missing)} readings are not stored.")

    def _progress(self, look: Callable[[], T]) -> Iterator[T]:
        """What there is to see, again and again, until it has not changed for PATIENCE_SECONDS."""
        seen, deadline = None, time.monotonic() + PATIENCE_SECONDS
        while True:
            now = look()
            if now != seen:
                seen, deadline = now, time.monotonic() + PATIENCE_SECONDS
            yield now
            if time.monotonic() > deadline:
                return
            time.sleep(0.5)


def _write_mapping(path: Path, code: str | None = None) -> None:
    """The start mapping with one Observation for the body temperatures of an hour and, if given, another code for heart
    rates; as a deployment does, which makes it the newest."""
    mapping = json.loads((ROOT / "mappings" / "fhirDestinationMapping.json").read_text(encoding="utf-8"))
    templates = {each["template"]["typeName"]: each["template"] for each in mapping["template"]}
    templates[GROUPED]["periodInterval"] = 60
    if code is not None:
        templates[RECODED]["codes"][0]["code"] = code
    path.write_text(json.dumps(mapping), encoding="utf-8")
