from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from medtech.group.groups import group_measurements
from medtech.model import Measurement


def measurement(**changes: Any) -> Measurement:
    given = Measurement("hr", 100, "d", "p", None, None, (("v", "1"),), 1000, "0", 5, 0, 0)
    return given._replace(**changes)


def test_a_group_shares_type_device_patient_encounter_and_correlation_id() -> None:
    keys: list[dict[str, Any]] = [
        {},
        {"type": "HR"},
        {"device_id": "e"},
        {"patient_id": None},
        {"patient_id": ""},
        {"encounter_id": "e"},
        {"correlation_id": "c"},
    ]
    measurements = [measurement(**key, sequence_number=number) for number in (1, 2) for key in keys]
    groups = group_measurements(measurements)
    assert [len(group.measurements) for group in groups] == [2] * len(keys)
    assert [group.patient_id for group in groups] == ["p", "p", "p", None, "", "p", "p"]
    for group, key in zip(groups, keys, strict=True):
        assert all(getattr(group, name) == value for name, value in key.items())


def test_what_was_delivered_twice_is_there_once() -> None:
    (group,) = group_measurements([measurement(), measurement(), measurement(sequence_number=6)])
    assert len(group.measurements) == 2


def test_measurements_are_in_order_of_time_then_of_precedence() -> None:
    in_order = [
        measurement(occurrence_time=90),
        measurement(ingestion_time=1002),
        measurement(ingestion_time=1001, partition="2"),
        measurement(ingestion_time=1001, partition="10"),
        measurement(sequence_number=4),
        measurement(),
        measurement(match=1),
        measurement(template=1),
        measurement(template=1, properties=(("v", "2"),)),
        measurement(occurrence_time=110),
    ]
    (group,) = group_measurements(reversed(in_order))
    assert group.measurements == in_order


@given(
    st.lists(
        st.builds(
            measurement,
            occurrence_time=st.integers(0, 2),
            ingestion_time=st.integers(0, 2),
            partition=st.sampled_from(["0", "1"]),
            properties=st.sampled_from([(("v", "1"),), (("v", "2"),), ()]),
        )
    ),
    st.randoms(),
)
def test_the_order_of_arrival_does_not_matter(measurements: list[Measurement], random: Any) -> None:
    shuffled = random.sample(measurements, len(measurements))
    assert group_measurements(measurements) == group_measurements(shuffled)
