"""Names of Capture files."""

import pytest

from medtech.backfill.path_format import DEFAULT_FORMAT, PathFormat, PathFormatInvalid
from tests.persist.samples import HOUR


def test_a_file_of_the_default_format_is_read() -> None:
    place = PathFormat(DEFAULT_FORMAT).read("ward/devicedata/12/2025/10/09/09/00/00.avro")
    assert place == ("ward", "devicedata", "12", HOUR)


@pytest.mark.parametrize(
    "text",
    [
        "{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}/{Namespace}/{EventHub}/{PartitionId}",
        "raw/{Namespace}_{EventHub}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}",
        "{Namespace}/{EventHub}/{Year}-{Month}-{Day}/p{PartitionId}_{Hour}{Minute}{Second}",
    ],
)
def test_other_orders_and_prefixes_are_read(text: str) -> None:
    parts = {"Namespace": "ward", "EventHub": "devicedata", "PartitionId": "12", "Year": "2025", "Month": "10"}
    parts |= {"Day": "09", "Hour": "09", "Minute": "00", "Second": "00"}
    assert PathFormat(text).read(text.format(**parts) + ".avro") == ("ward", "devicedata", "12", HOUR)


@pytest.mark.parametrize(
    "name",
    [
        "ward/devicedata/12/2025/13/09/09/00/00.avro",
        "ward/devicedata/12/2025/10/09/09/00/00.parquet",
        "ward/devicedata/x/2025/10/09/09/00/00.avro",
        "other/ward/devicedata/12/2025/10/09/09/00/00.avro",
        "ward/devicedata/12/2025/10/09",
    ],
)
def test_other_names_are_of_no_file(name: str) -> None:
    assert PathFormat(DEFAULT_FORMAT).read(name) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{Namespace}/{EventHub}", "{PartitionId}, {Year}"),
        (f"{DEFAULT_FORMAT}/{{Hour}}", "{Hour} must be in the format once"),
        (DEFAULT_FORMAT.replace("{Hour}", "{hour}"), "{hour} is no placeholder"),
        ("x" * 2000, "over 1024 characters"),
    ],
)
def test_a_format_that_cannot_be_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(PathFormatInvalid) as refused:
        PathFormat(text)
    assert said in str(refused.value)
