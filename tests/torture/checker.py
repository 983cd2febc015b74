"""The judge of a torture run: every reading in the hub, against what FHIR server, letters and buffer hold at the end.

lost      a reading whose message the checkpoint has passed, and that is neither in the current version of an
          Observation, nor in a dead letter, nor in the buffer
doubled   whatever one undisturbed delivery would not have written: a value in two Observations, a value at a time that
          is not its own or that a version ever had in place of the one that stands, a good reading in a dead letter, a
          reading in two letters, an Observation or value that nothing in the hub accounts for, two Devices under one
          identifier, a version that says the same as the one before it
stuck     a partition whose checkpoint has not reached its end, or a shard with rows that enough flushes have left
leaked    a line of a log, an address or a table that holds health data (see `leaks`)

A superseded reading (see `oracle`) must be nowhere at all. `State` is plain values: a test judges one that it wrote.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from tests.torture.oracle import Event, Fact, Fate, Json, Reading, facts_of, meaning, readings_of


class Letter(NamedTuple):
    """A dead letter: where its message lies in the hub, and the values of the measurement, if it is one's.

    A letter without a position is of a row of the buffer.
    """

    partition: str | None
    sequence_number: int
    values: tuple[str, ...] | None
    error: str


@dataclass(frozen=True, slots=True)
class State:
    """Everything that holds readings at the end of a run.

    `checkpoints` has the last sequence number that is done, by partition. `versions` are those of each Observation, the
    oldest first; the last is the current one. `devices` are (FHIR id, identifier). `buffered` are the values of the
    measurements in the buffer, by shard. `leaks` are lines about what was found in logs and other outputs.
    """

    events: Sequence[Event]
    checkpoints: Mapping[str, int]
    versions: Mapping[str, Sequence[Json]]
    devices: Sequence[tuple[str, str]]
    letters: Sequence[Letter]
    buffered: Mapping[int, Sequence[tuple[str, ...]]]
    leaks: Sequence[str] = ()


@dataclass(slots=True)
class Verdict:
    """What was found; each entry of the lists says what and where, in words for the log."""

    readings: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.readings > 0 and not (self.lost or self.doubled or self.stuck or self.leaked)

    def __str__(self) -> str:
        counts = map(len, (self.lost, self.doubled, self.stuck, self.leaked))
        return "readings {}, lost {}, doubled {}, stuck {}, leaked {}".format(self.readings, *counts)


def judge(state: State, *, strangers: bool = True, repeats: bool = False) -> Verdict:
    """`strangers`: as in `oracle.readings_of`. `repeats`: the network delivered writes twice, or late, to a server that
    carries out each of them, so that versions may say the same as those before them."""
    readings = [reading for event in state.events for reading in readings_of(event, strangers=strangers)]
    verdict = Verdict(len(readings), leaked=list(state.leaks))
    _judge_places(state, readings, verdict)
    _judge_versions(state, readings, verdict, repeats=repeats)
    _judge_progress(state, verdict)
    return verdict


def _judge_places(state: State, readings: Iterable[Reading], verdict: Verdict) -> None:
    """Each reading is where it belongs, once."""
    device_of = dict(state.devices)
    current = [facts_of(versions[-1], _device(versions[-1], device_of)) for versions in state.versions.values()]
    stored = Counter(fact for facts in current for fact in facts)
    stored_values = Counter(fact.value for fact in stored.elements())
    buffered = {values for of_shard in state.buffered.values() for values in of_shard}
    letters = Counter((letter.partition, letter.sequence_number, letter.values) for letter in state.letters)
    lettered = {(letter.partition, letter.sequence_number) for letter in state.letters}
    expected_letters: set[tuple[str, int, tuple[str, ...] | None]] = set()
    accounted: Counter[Fact] = Counter()

    for reading in readings:
        event = reading.event
        of_measurement = letters[event.partition, event.sequence_number, reading.values]
        of_message = letters[event.partition, event.sequence_number, None]
        if reading.fate is Fate.WRITTEN:
            accounted.update(reading.facts)
            found = all(stored[fact] for fact in reading.facts)
            if of_measurement:
                verdict.doubled.append(f"{reading}: in a dead letter")
        else:
            found = bool(of_message if reading.in_message else of_measurement) or reading.fate is Fate.SUPERSEDED
            found = found or (reading.any_letter and (event.partition, event.sequence_number) in lettered)
            if reading.fate is Fate.LETTER:
                values = None if reading.in_message else reading.values
                expected_letters.add((event.partition, event.sequence_number, values))
            if any(stored_values[value] for value in reading.values):
                verdict.doubled.append(f"{reading}: in an Observation")
        waits = reading.values in buffered or event.sequence_number > state.checkpoints.get(event.partition, -1)
        if not found and not of_measurement and not waits:
            verdict.lost.append(str(reading))

    for fact, times in (stored - accounted).items():
        verdict.doubled.append(f"{fact}: {times} times more than it was sent")
    for place, times in letters.items():
        # A good reading's letter is told above. What is left are two for one, and letters of nothing that failed.
        if place not in expected_letters and place[2] is None:
            verdict.doubled.append(f"a dead letter of {place[0]}/{place[1]}, in which nothing was to fail")
        elif times > 1:
            verdict.doubled.append(f"{times} dead letters of {place[0]}/{place[1]}")


def _judge_versions(state: State, readings: Iterable[Reading], verdict: Verdict, *, repeats: bool) -> None:
    """No version ever had a value that is not the one of its slot, and none was written for nothing."""
    device_of = dict(state.devices)
    expected = {fact for reading in readings if reading.fate is Fate.WRITTEN for fact in reading.facts}
    for observation_id, versions in state.versions.items():
        for number, (before, after) in enumerate(pairwise(versions), start=2):
            if not repeats and meaning(before) == meaning(after):
                verdict.doubled.append(f"Observation/{observation_id} version {number}: as the version before")
        for number, version in enumerate(versions[:-1], start=1):
            for fact in set(facts_of(version, _device(version, device_of))) - expected:
                verdict.doubled.append(f"Observation/{observation_id} version {number}: {fact}")
    for identifier, times in Counter(identifier for _, identifier in state.devices).items():
        if times > 1:
            verdict.doubled.append(f"{times} Devices have the identifier {identifier}")


def _judge_progress(state: State, verdict: Verdict) -> None:
    last: defaultdict[str, int] = defaultdict(lambda: -1)
    for event in state.events:
        last[event.partition] = max(last[event.partition], event.sequence_number)
    for partition, sequence_number in sorted(last.items()):
        if (checkpoint := state.checkpoints.get(partition, -1)) < sequence_number:
            verdict.stuck.append(f"partition {partition}: checkpoint {checkpoint} of {sequence_number}")
    for shard, measurements in sorted(state.buffered.items()):
        verdict.stuck.append(f"shard {shard}: {len(measurements)} measurements in the buffer")


def _device(observation: Json, device_of: Mapping[str, str]) -> str:
    device_id = observation["device"]["reference"].rpartition("/")[2]
    return device_of.get(device_id, device_id)
