"""A letter's way: put through, into the buffer, to the FHIR server, and gone; or a letter again."""

import pytest

from medtech.dead_letter import letter as letters
from medtech.dead_letter.letter import Kind
from medtech.dead_letter.selection import Selection
from medtech.errors import BufferCorrupt
from medtech.group.windows import shard_name
from medtech.jobs import State
from medtech.model import DeviceEvent
from medtech.replay.job import Left
from medtech.storage import lease
from tests.flush.samples import HUB, known
from tests.persist.samples import HOUR, MINUTE, Server, identity, points
from tests.replay.samples import BROKEN, GOOD, Ward, device_mapping, message


def test_a_message_that_failed_is_put_through_and_its_letter_goes_when_it_is_written(
    ward: Ward, server: Server
) -> None:
    of = known(server)
    ward.ingest([ward.event(message(of.device, series=60))], BROKEN)
    job = ward.replay()
    assert (job.state, job.selected, job.counts.put_through) == (State.DONE, 1, 1)
    assert (len(ward.letters()), ward.in_buffer(job)) == (1, 1)
    assert ward.flush().measurements == 1
    [observation] = ward.run.observations(of)
    assert points(observation) == {0: "60"}
    assert (ward.letters(), ward.in_buffer(job), ward.run.left()) == ([], 0, [])


def test_only_what_failed_of_a_message_comes_again(ward: Ward, server: Server) -> None:
    """Its good reading would replace the later one."""
    of = known(server)
    ward.ingest([ward.event(message(of.device, series=60, spot=1))], BROKEN)
    ward.flush()
    ward.ingest([ward.event(message(of.device, spot=2))], GOOD)
    ward.flush()
    ward.replay()
    assert ward.flush().measurements == 1
    values = {each["code"]["text"]: each.get("valueQuantity", {}).get("value") for each in ward.run.observations(of)}
    assert values == {"series": None, "spot": 2}
    assert ward.letters() == []


def test_a_measurement_goes_to_the_buffer_as_it_is(ward: Ward, server: Server) -> None:
    stranger = identity()
    ward.ingest([ward.event(message(stranger.device, series=60))], GOOD)
    ward.flush()
    [letter] = ward.letters()
    assert (letter.kind, letter.error) == (Kind.MEASUREMENT, "DeviceNotFound")
    server.put({"resourceType": "Patient", "id": stranger.patient})
    patient = {"reference": f"Patient/{stranger.patient}"}
    identifier = [{"value": stranger.device}]
    server.put({"resourceType": "Device", "id": stranger.device, "identifier": identifier, "patient": patient})
    ward.mapping = device_mapping("spot")
    ward.replay()
    ward.flush()
    assert len(ward.run.observations(stranger)) == 1
    assert (ward.letters(), ward.run.left()) == ([], [])


def test_a_measurement_that_fails_again_is_the_same_letter_with_its_count_raised(ward: Ward, server: Server) -> None:
    ward.ingest([ward.event(message(identity().device, series=60))], GOOD)
    ward.flush()
    for expected in (2, 3):
        job = ward.replay()
        ward.flush()
        [letter] = ward.letters()
        assert (letter.error, letter.count, letter.job) == ("DeviceNotFound", expected, "")
        assert (ward.in_buffer(job), ward.run.left()) == (0, [])


def test_what_fails_later_than_before_is_a_letter_of_its_own_that_goes_on_counting(ward: Ward, server: Server) -> None:
    ward.ingest([ward.event(message(identity().device, series=60))], BROKEN)
    ward.replay()
    ward.flush()
    [letter] = ward.letters()
    assert (letter.kind, letter.error, letter.count) == (Kind.MEASUREMENT, "DeviceNotFound", 2)


def test_a_message_that_fails_again_stays_with_its_count_raised(ward: Ward, server: Server) -> None:
    ward.mapping = BROKEN
    ward.ingest([ward.event(message(identity().device, series=60))], BROKEN)
    for expected in (2, 3):
        job = ward.replay()
        assert (job.state, job.counts.failed_again) == (State.DONE, 1)
        [letter] = ward.letters()
        assert (letter.error, letter.count, letter.job) == ("IncompatibleData", expected, "")


def test_a_message_that_fails_by_another_error_is_a_newer_letter(ward: Ward, server: Server) -> None:
    ward.ingest([ward.event(message(identity().device, series=60))], None)
    [letter] = ward.letters()
    assert letter.error == "TemplateNotFound"
    ward.mapping = BROKEN
    ward.replay()
    [letter] = ward.letters()
    assert (letter.error, letter.count, letter.job) == ("IncompatibleData", 2, "")


def test_of_a_message_that_fails_in_part_the_good_part_is_written_and_the_rest_stays(
    ward: Ward, server: Server
) -> None:
    of = known(server)
    ward.ingest(
        [ward.event(message(of.device, series=60, spot=1))],
        device_mapping("series", "spot", series="$.matchedToken.absent", spot="$.matchedToken.absent"),
    )
    ward.mapping = BROKEN
    assert ward.replay().counts.failed_again == 1
    ward.flush()
    assert [each["code"]["text"] for each in ward.run.observations(of)] == ["spot"]
    [summary] = ward.letters()
    letter = ward.run.dead_letters.read(summary.partition_key, summary.row_key)
    assert letter is not None
    assert ([failure.type for failure in letter.failures], summary.count) == (["series"], 2)
    ward.mapping = GOOD
    ward.replay()
    ward.flush()
    assert sorted(each["code"]["text"] for each in ward.run.observations(of)) == ["series", "spot"]
    assert ward.letters() == []


def test_of_a_message_that_fails_in_part_by_another_error_the_rest_is_a_newer_letter(
    ward: Ward, server: Server
) -> None:
    of = known(server)
    ward.ingest([ward.event(message(of.device, series=60, spot=1))], None)
    ward.mapping = BROKEN
    ward.replay()
    assert sorted(each.error for each in ward.letters()) == ["IncompatibleData", "TemplateNotFound"]
    ward.flush()
    [letter] = ward.letters()
    assert (letter.error, letter.count) == ("IncompatibleData", 2)
    assert [each["code"]["text"] for each in ward.run.observations(of)] == ["spot"]


def test_a_message_that_no_template_takes_any_more_stays_and_says_so(ward: Ward, server: Server) -> None:
    ward.ingest([ward.event(message(identity().device, series=60))], BROKEN)
    ward.mapping = device_mapping("spot")
    assert ward.replay().counts.failed_again == 1
    [letter] = ward.letters()
    assert (letter.error, letter.count, letter.job) == ("IncompatibleData", 2, "")
    assert "gave no reading of type 'series'" in letter.message


def test_a_message_of_many_devices_is_a_letter_until_all_of_its_rows_are_settled(ward: Ward, server: Server) -> None:
    devices = [known(server) for _ in range(8)]
    event = ward.event([message(of.device, series=60) for of in devices])
    ward.ingest([event], BROKEN)
    job = ward.replay()
    shards = ward.run.buffer.shards()
    assert len(shards) > 1
    last = lease.acquire(ward.run.storage, shard_name(shards[-1]))
    assert last
    with last:
        ward.flush()
    assert ward.run.buffer.shards() == shards[-1:]
    assert ward.in_buffer(job) == 1
    ward.flush()
    assert (ward.letters(), ward.in_buffer(job)) == ([], 0)
    assert all(len(ward.run.observations(of)) == 1 for of in devices)


def test_damaged_rows_are_told_and_stay(ward: Ward) -> None:
    corrupt = BufferCorrupt("A row of the buffer is damaged.")
    ward.run.dead_letters.store([letters.of_row("000|20251009090000", "e|x", HUB, HOUR, b"?", corrupt)], HOUR)
    job = ward.replay()
    assert (job.state, job.counts.left) == (State.DONE, {Left.ROW: 1})
    assert [letter.count for letter in ward.letters()] == [1]


def test_filters_choose_what_is_put_through(ward: Ward, server: Server) -> None:
    of = known(server)
    bad = DeviceEvent(b"{", {}, {}, HOUR, HUB, "0", 1000)
    ward.ingest([ward.event(message(of.device, series=60)), bad], BROKEN)
    job = ward.replay(Selection(error="IncompatibleData"))
    assert (job.selected, job.counts.taken) == (1, 1)
    ward.flush()
    assert [letter.error for letter in ward.letters()] == ["NotSupported"]


def test_a_repeated_replay_doubles_nothing(ward: Ward, server: Server) -> None:
    of = known(server)
    event = ward.event(message(of.device, series=60))
    for _ in range(2):
        ward.ingest([event], BROKEN)
        ward.replay()
        ward.flush()
    [observation] = ward.run.observations(of)
    assert (points(observation), observation["meta"]["versionId"]) == ({0: "60"}, "1")
    assert ward.letters() == []


def test_what_is_put_through_keeps_its_window(ward: Ward, server: Server) -> None:
    of = known(server)
    ward.ingest([ward.event(message(of.device, series=60), minute=7)], BROKEN)
    ward.replay()
    assert ward.run.buffer.oldest_window() == HOUR + 5 * MINUTE


def test_a_job_that_selects_nothing_is_done_at_once(ward: Ward) -> None:
    job = ward.replay(Selection(error="UnitMismatch"))
    assert (job.state, job.selected, job.counts.taken) == (State.DONE, 0, 0)


@pytest.mark.parametrize("mapping_came", [False, True])
def test_without_a_mapping_a_job_waits_and_says_so(ward: Ward, server: Server, mapping_came: bool) -> None:
    of = known(server)
    ward.ingest([ward.event(message(of.device, series=60))], None)
    ward.mapping = None
    job = ward.replay()
    assert (job.state, job.counts.taken) == (State.QUEUED, 0)
    assert "never been a good device mapping" in job.message
    if mapping_came:
        ward.mapping = GOOD
        ward.tick()
        job = ward.job(job.id)
        assert (job.state, job.message, job.counts.put_through) == (State.DONE, "", 1)
