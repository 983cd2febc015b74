"""A batch through a mapping, event by event."""

from dataclasses import dataclass, field

import pytest

from medtech.errors import NotSupported
from medtech.model import DeviceEvent, Measurement, NormalizationFailure, Normalized
from medtech.normalize.batch import normalize


@dataclass
class Mapping:
    """Answers by sequence number; raises what is an exception."""

    answers: dict[int, Normalized | BaseException] = field(default_factory=dict)

    def normalize(self, event: DeviceEvent) -> Normalized:
        answer = self.answers[event.sequence_number]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _event(number: int) -> DeviceEvent:
    return DeviceEvent(b"{}", {}, {}, 0, "0a1b2c3d", "0", number)


def _measurement(number: int) -> Measurement:
    return Measurement("hr", 0, "d", None, None, None, (), 0, "0", number, 0, 0)


def test_each_event_stands_alone() -> None:
    failure = NormalizationFailure(NotSupported("No."), 0, 1)
    answers: dict[int, Normalized | BaseException] = {
        1: Normalized([_measurement(1)], []),
        2: Normalized([], [failure]),
        3: Normalized([], []),
        4: Normalized([_measurement(4), _measurement(4)], [failure]),
        5: RecursionError("a-reading"),
        6: Normalized([_measurement(6)], []),
    }
    batch = normalize([_event(number) for number in answers], Mapping(answers))
    assert [measurement.sequence_number for measurement in batch.measurements] == [1, 4, 4, 6]
    assert [event.sequence_number for event, _ in batch.failed] == [2, 4, 5]
    assert [event.sequence_number for event in batch.unmatched] == [3]
    assert batch.normalized_events == 3


def test_a_fault_of_the_app_tells_its_place_and_not_its_text() -> None:
    [(_, [failure])] = normalize([_event(1)], Mapping({1: LookupError("a-reading")})).failed
    assert failure.error.name == "UnexpectedFault"
    assert "LookupError at test_batch.py:" in failure.error.message
    assert "a-reading" not in failure.error.message
    assert (failure.template, failure.match) == (-1, -1)


def test_want_of_memory_is_no_fault_of_the_message() -> None:
    with pytest.raises(MemoryError):
        normalize([_event(1)], Mapping({1: MemoryError()}))


def test_without_a_mapping_every_event_fails() -> None:
    batch = normalize([_event(1), _event(2)], None)
    assert [failures[0].error.name for _, failures in batch.failed] == ["TemplateNotFound"] * 2
    assert not batch.unmatched
