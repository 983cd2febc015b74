"""The search for what leaks finds a secret in every form, and nothing else."""

import base64
import json

import pytest

from tests.torture.leaks import SECRET, Output, forms, leaks
from tests.torture.traffic import FIRST_VALUE, patient_identifier

READING = str(FIRST_VALUE + 17)

PLANTED = {
    "plain": f"the value {READING} is wrong",
    "patient": patient_identifier("device-3"),
    "json": json.dumps({"pulse": int(READING)}),
    "escapes": "".join(f"\\u{ord(each):04X}" for each in READING),
    "hex": f"b'{READING.encode().hex().upper()}'",
    "utf-16": READING.encode("utf-16-le").hex(),
    "percents": "GET /Patient?identifier=" + "".join(f"%{ord(each):02x}" for each in READING),
} | {f"base64 + {n}": base64.b64encode(b"x" * n + f"{READING} and more".encode()).decode() for n in range(3)}


@pytest.mark.parametrize("form", PLANTED)
def test_a_secret_is_found_in_every_form(form: str) -> None:
    found = list(leaks([Output("host.log", f"first\n{PLANTED[form]}\nlast")]))
    assert [line.partition(": ")[0] for line in found] == ["host.log:2"]


def test_the_readings_of_the_longest_run_are_secret() -> None:
    assert str(FIRST_VALUE + 5_000_000).startswith(SECRET)
    assert FIRST_VALUE + 5_000_000 < 2**53


def test_what_may_be_told_is_not_found() -> None:
    lines = [
        "2026-03-02T08:04:04.1234567Z INFO partition 2: 50 events to 50 measurements in 4 rows, 0.03 s",
        "No Device has the identifier 'device-3'.",
        "Patient/patient-of-device-3 is not there",
        "GET /devstoreaccount1/buffer()?$filter=PartitionKey%20eq%20%27000%7C20260302080000%27",
    ]
    assert list(leaks(Output("host.log", line) for line in lines)) == []


def test_no_form_is_so_short_that_chance_writes_it() -> None:
    assert min(map(len, forms(SECRET))) >= 8
