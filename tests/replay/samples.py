"""A ward whose messages are ingested, flushed and, when they failed, replayed: over Azurite and a real FHIR server."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import orjson

from medtech.dead_letter.marks import Marks
from medtech.dead_letter.selection import Selection
from medtech.dead_letter.store import Summary
from medtech.deadline import Deadline, within
from medtech.dotnet import ticks
from medtech.flush.tally import Tally
from medtech.ingest.batch import process
from medtech.mapping.device import DeviceMapping, load_device_mapping
from medtech.model import DeviceEvent
from medtech.replay.http import letters_in_buffer
from medtech.replay.job import Job, Jobs
from medtech.replay.work import Replay
from medtech.storage.connection import Storage
from tests.flush.samples import HUB, Run
from tests.persist.samples import HOUR, MINUTE

TYPES = ("series", "spot")


def mapping_document(*types: str, **times: str) -> dict[str, Any]:
    """A template for each type, which takes messages with a property of its name. `times` are the types' expressions of
    the time, `$.matchedToken.time` if they are left out; one that finds nothing makes the type fail."""
    templates = [
        {
            "templateType": "CalculatedContent",
            "template": {
                "typeName": name,
                "typeMatchExpression": f"$..[?(@{name})]",
                "deviceIdExpression": "$.matchedToken.device",
                "patientIdExpression": "$.matchedToken.patient",
                "timestampExpression": times.get(name, "$.matchedToken.time"),
                "values": [{"valueName": "value", "valueExpression": f"$.matchedToken.{name}", "required": True}],
            },
        }
        for name in types
    ]
    return {"templateType": "CollectionContent", "template": templates}


def device_mapping(*types: str, **times: str) -> DeviceMapping:
    return load_device_mapping(orjson.dumps(mapping_document(*types, **times)).decode())


GOOD = device_mapping(*TYPES)
BROKEN = device_mapping(*TYPES, series="$.matchedToken.absent")
"""No message has what `series` needs."""


class Ward:
    """`clock` gives a later second with each call, from an hour and a half after the messages on."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.mapping: DeviceMapping | None = GOOD
        seconds = count()
        self.clock = lambda: HOUR + 90 * MINUTE + next(seconds) * ticks.TICKS_PER_SECOND
        self.flusher = replace(run.flush, clock=self.clock)
        self.jobs = Jobs(run.storage)
        self.replayer = self.replay_over(run.storage)
        self._sequence = count(1)

    def replay_over(self, storage: Storage, **parts: Any) -> Replay:
        run = self.run
        return Replay(
            **{
                "storage": storage,
                "buffer": run.buffer,
                "dead_letters": run.dead_letters,
                "device_mapping": lambda: self.mapping,
                "settings": run.settings,
                "clock": self.clock,
                **parts,
            }
        )

    def event(self, body: Any, minute: int = 0) -> DeviceEvent:
        sequence = next(self._sequence)
        return DeviceEvent(orjson.dumps(body), {}, {}, HOUR + minute * MINUTE, HUB, "0", sequence)

    def ingest(self, events: Sequence[DeviceEvent], mapping: DeviceMapping | None) -> None:
        process(events, mapping, self.run.buffer, self.run.dead_letters, self.run.settings, self.clock)

    def replay(self, selection: Selection | None = None, *, relabel_unit: bool = False) -> Job:
        """A job, as it is after one tick."""
        job = self.jobs.create(selection or Selection(), self.clock(), relabel_unit=relabel_unit)
        self.tick()
        return self.job(job.id)

    def tick(self, seconds: float = 120) -> None:
        with within(Deadline(seconds)):
            self.replayer.run()

    def job(self, job_id: str) -> Job:
        job = self.jobs.get(job_id)
        assert job is not None
        return job

    def in_buffer(self, job: Job) -> int:
        return letters_in_buffer(self.job(job.id), Marks(self.run.storage))

    def flush(self) -> Tally:
        tally = self.flusher.run()
        assert tally.outages == []
        return tally

    def letters(self) -> list[Summary]:
        return list(self.run.dead_letters.select())


def message(device: str, minute: int = 0, **values: Any) -> dict[str, Any]:
    return {"device": device, "time": ticks.format_iso(HOUR + minute * MINUTE), **values}
