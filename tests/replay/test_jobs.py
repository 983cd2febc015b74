"""Jobs beside each other, over time, and of many letters."""

import json
import logging
from itertools import count

import pytest

from medtech.dead_letter.holders import MAX_HOLDER_BYTES
from medtech.dead_letter.letter import Keys
from medtech.dead_letter.marks import Claim, Marks
from medtech.dead_letter.selection import Selection
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.errors import OutOfTime
from medtech.group.buffer import Buffer
from medtech.jobs import KEPT_DAYS, State
from medtech.mapping.device import DeviceMapping
from medtech.mapping.fhir import load_fhir_mapping
from medtech.replay.job import Left
from medtech.replay.work import LEASE
from medtech.settings import Settings
from medtech.storage import lease
from tests.azurite import Wire, nobody
from tests.flush.samples import known
from tests.persist.samples import HOUR, Server, points
from tests.replay.samples import BROKEN, GOOD, Ward, message


def test_two_jobs_put_a_letter_through_once(ward: Ward, server: Server) -> None:
    of = known(server)
    ward.ingest([ward.event(message(of.device, series=60))], BROKEN)
    first = ward.jobs.create(Selection(), ward.clock(), relabel_unit=False)
    second = ward.jobs.create(Selection(), ward.clock(), relabel_unit=False)
    ward.tick()
    put_through = sorted(ward.job(each.id).counts.put_through for each in (first, second))
    left = ward.job(first.id).counts.left + ward.job(second.id).counts.left
    assert (put_through, left) == ([0, 1], {Left.IN_BUFFER: 1})
    assert ward.flush().measurements == 1
    assert ward.letters() == []


def test_a_letter_of_a_job_that_is_not_done_is_left_by_another(ward: Ward, server: Server) -> None:
    ward.ingest([ward.event(message(known(server).device, series=60))], BROKEN)
    other = ward.jobs.create(Selection(error="UnitMismatch"), ward.clock(), relabel_unit=False)
    [letter] = ward.letters()
    claim = Claim(Keys(letter.partition_key, letter.row_key), letter.etag, ["000|20251009090000|0"])
    assert Marks(ward.run.storage).claim(other.id, [claim])
    job = ward.jobs.create(Selection(), ward.clock(), relabel_unit=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(ward.jobs), "all", lambda self: iter([ward.job(job.id)]))
        ward.tick()
    assert ward.job(job.id).counts.left == {Left.OTHER_JOB: 1}


def test_a_letter_that_a_vanished_job_left_marked_is_taken(ward: Ward, server: Server) -> None:
    ward.ingest([ward.event(message(known(server).device, series=60))], BROKEN)
    [letter] = ward.letters()
    claim = Claim(Keys(letter.partition_key, letter.row_key), letter.etag, ["000|20251009090000|0"])
    assert Marks(ward.run.storage).claim("20200101000000-gone", [claim])
    assert ward.replay().counts.put_through == 1
    ward.flush()
    assert ward.letters() == []


def test_a_letter_written_after_the_job_began_is_not_taken(ward: Ward, server: Server) -> None:
    ward.ingest([ward.event(message(known(server).device, series=60))], BROKEN)
    ward.mapping = None
    job = ward.replay()
    ward.mapping = GOOD
    began = ward.jobs.write(job.but(began="x", selection=Selection(to_time=HOUR)), ward.clock())
    ward.tick()
    assert (ward.job(began.id).state, ward.job(began.id).counts.taken) == (State.DONE, 0)


def test_a_message_written_again_while_it_is_in_the_buffer_keeps_its_letter(ward: Ward, server: Server) -> None:
    """The letter may say something else by then."""
    event = ward.event(message(known(server).device, series=60))
    ward.ingest([event], BROKEN)
    job = ward.replay()
    ward.ingest([event], BROKEN)
    assert ward.in_buffer(job) == 0
    ward.flush()
    [letter] = ward.letters()
    assert (letter.count, letter.job) == (2, "")


def test_a_job_that_another_instance_works_on_is_left_to_it(ward: Ward, server: Server) -> None:
    ward.ingest([ward.event(message(known(server).device, series=60))], BROKEN)
    held = lease.acquire(ward.run.storage, LEASE)
    assert held is not None
    with held:
        assert ward.replay().state is State.QUEUED
    ward.tick()
    assert ward.letters()[0].job


@pytest.mark.parametrize("relabel_unit", [False, True])
def test_a_unit_is_relabelled_only_if_it_is_asked_for(ward: Ward, server: Server, relabel_unit: bool) -> None:
    of = known(server)
    template = {"typeName": "series", "periodInterval": 60, "codes": []}
    for unit in ("bpm", "/min"):
        value = {"valueName": "value", "valueType": "SampledData", "defaultPeriod": 60_000, "unit": unit}
        collection = {
            "templateType": "CollectionFhir",
            "template": [{"templateType": "CodeValueFhir", "template": template | {"value": value}}],
        }
        ward.run.mapping = load_fhir_mapping(json.dumps(collection))
        minute = 0 if unit == "bpm" else 1
        ward.ingest([ward.event(message(of.device, minute, series=60 + minute))], GOOD)
        ward.flush()
    assert [letter.error for letter in ward.letters()] == ["UnitMismatch"]
    ward.replay(relabel_unit=relabel_unit)
    ward.flush()
    [observation] = ward.run.observations(of)
    if relabel_unit:
        assert (points(observation), ward.letters()) == ({0: "60", 1: "61"}, [])
    else:
        assert ([letter.count for letter in ward.letters()], points(observation)) == ([2], {0: "60"})


def test_more_letters_than_a_tick_has_time_for_are_put_through_in_several_ticks(ward: Ward, server: Server) -> None:
    letters = 1_200  # more than a page of storage's
    devices = [known(server) for _ in range(5)]
    events = [
        ward.event(message(devices[n % 5].device, n // 5 % 60, series=n % 100), minute=n // 120) for n in range(letters)
    ]
    ward.ingest(events, BROKEN)
    job = ward.jobs.create(Selection(), ward.clock(), relabel_unit=False)
    chunks = count(1)

    def mapping() -> DeviceMapping:
        """Looked up once a chunk: the time of a tick is over after two."""
        if next(chunks) % 3 == 0:
            raise OutOfTime("the letters of a test were put through")
        return GOOD

    replay = ward.replay_over(ward.run.storage, device_mapping=mapping)
    ended = 0
    while ward.job(job.id).state is not State.DONE:
        replay.run()
        ended += 1
        assert ended < 10
    assert ended > 2
    done = ward.job(job.id)
    assert (done.selected, done.counts.put_through, done.counts.left.total()) == (letters, letters, 0)
    assert ward.in_buffer(job) == letters
    ward.flush()
    assert (ward.letters(), ward.in_buffer(job), ward.run.left()) == ([], 0, [])


def test_storage_that_goes_away_ends_the_tick_and_is_told(
    ward: Ward, server: Server, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    ward.ingest([ward.event(message(known(server).device, series=60))], BROKEN)
    job = ward.jobs.create(Selection(), ward.clock(), relabel_unit=False)
    with caplog.at_level(logging.ERROR):
        ward.replay_over(nobody()).run()
    assert "Replay is held up, nothing is lost" in caplog.text
    ward.tick()
    assert ward.job(job.id).counts.put_through == 1


def test_a_letter_that_storage_refuses_to_buffer_is_left_and_its_neighbours_go_through(
    ward: Ward, server: Server, wire: Wire
) -> None:
    of = known(server)
    ward.ingest([ward.event(message(of.device, minute, series=60)) for minute in range(3)], BROKEN)
    refused = ward.letters()[1]
    row = f"r|{refused.id}|".encode()
    wire.tables.answer(413, when=lambda request: row in request.body, times=None)
    replay = ward.replay_over(wire.storage, buffer=Buffer(wire.storage), dead_letters=DeadLetters(wire.storage))
    job = ward.jobs.create(Selection(), ward.clock(), relabel_unit=False)
    for _ in range(6):
        replay.run()
    done = ward.job(job.id)
    assert (done.state, done.counts.put_through, done.counts.left) == (State.DONE, 2, {Left.FAULT: 1})
    ward.flush()
    assert [(letter.id, letter.job) for letter in ward.letters()] == [(refused.id, "")]
    assert ward.in_buffer(job) == 0
    assert ward.replay().counts.put_through == 1
    ward.flush()
    assert ward.letters() == []


def test_a_letter_that_a_job_took_does_not_expire_meanwhile(ward: Ward, server: Server) -> None:
    ward.ingest([ward.event(message(known(server).device, series=60))], BROKEN)
    month = 30 * ticks.TICKS_PER_DAY
    assert ward.replay().counts.put_through == 1
    # By the time of this test the letter is months old, and its mark is of today.
    assert ward.run.dead_letters.expire(ward.clock() + month + ticks.TICKS_PER_DAY, 30) == 0
    assert ward.run.dead_letters.expire(ticks.now() + month + ticks.TICKS_PER_HOUR, 30) == 1


def test_jobs_that_are_done_expire(ward: Ward) -> None:
    job = ward.replay()
    later = ward.clock() + (KEPT_DAYS + 1) * ticks.TICKS_PER_DAY
    ward.replay_over(ward.run.storage, clock=lambda: later).run()
    assert ward.jobs.get(job.id) is None


def test_a_message_of_the_most_shards_has_room_for_its_holders() -> None:
    largest = max(each.le for each in Settings.model_fields["buffer_shards"].metadata if hasattr(each, "le"))
    assert largest * len("999|20251009090000|" + 32 * "f" + "\n") < MAX_HOLDER_BYTES
