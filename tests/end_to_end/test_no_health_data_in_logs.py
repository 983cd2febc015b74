"""A run at log level Debug whose readings and ids are sentinels: none of them is in a log or an HTTP error.

The run plays everything that makes the app log, from good messages to servers that echo what they were sent. The
Observations and dead letters, which hold the sentinels, show that they went through; planted texts show that the search
would find them.
"""

import base64
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from dev.hub import Position
from tests.dev.waiting import wait_until
from tests.end_to_end.conftest import behind_proxies
from tests.end_to_end.ward import DAY, ENQUEUED, Ward
from tests.faults import FaultProxy, ProxiedRequest, writes

SENTINELS = {
    "reading": "7319.482615",
    "text reading": "sentinelreadingkqx",
    "patient id": "sentinelpatientkqx",
    "encounter id": "sentinelencounterkqx",
    "correlation id": "sentinelcorrelationkqx",
    "application property": "sentinelpropertykqx",
}
READING, TEXT, PATIENT, ENCOUNTER, CORRELATION, PROPERTY = SENTINELS.values()
NOT_SOON = {"Retry-After": "120"}


def template(type_name: str, property_name: str, **changes: Any) -> dict[str, Any]:
    expressions = {
        "typeName": type_name,
        "typeMatchExpression": f"$..[?(@{property_name})]",
        "deviceIdExpression": "$.matchedToken.deviceId",
        "timestampExpression": "$.matchedToken.endDate",
        "patientIdExpression": "$.matchedToken.patientId",
        "encounterIdExpression": "$.matchedToken.encounterId",
        "correlationIdExpression": "$.matchedToken.session",
        "values": [
            {"valueName": "reading", "valueExpression": f"$.matchedToken.{property_name}", "required": True},
        ],
    }
    return {"templateType": "CalculatedContent", "template": expressions | changes}


def calculated(expression: str) -> dict[str, Any]:
    """A value with a JMESPath expression that fails on the message's content."""
    value = {"value": expression, "language": "JmesPath"}
    return {"values": [{"valueName": "reading", "valueExpression": value, "required": True}]}


DEVICE_MAPPING = {
    "templateType": "CollectionContent",
    "template": [
        template("pulse", "pulse"),
        template("session", "inSession"),
        template("sum", "summand", **calculated("add(matchedToken.summand, matchedToken.patientId)")),
        template("time", "milliseconds", **calculated("fromUnixTimestampMs(matchedToken.milliseconds)")),
        template("number", "text", **calculated("multiply(to_number(matchedToken.text), `2`)")),
        template("unwritten", "unwritten"),
    ],
}


def fhir_template(type_name: str, interval: int) -> dict[str, Any]:
    value = {"valueName": "reading", "valueType": "Quantity", "unit": "/min"}
    content = {"typeName": type_name, "periodInterval": interval, "codes": [], "value": value}
    return {"templateType": "CodeValueFhir", "template": content}


FHIR_MAPPING = {
    "templateType": "CollectionFhir",
    "template": [fhir_template("pulse", 60), fhir_template("session", -1)],
}


def message(device: str = "monitor", **content: Any) -> dict[str, Any]:
    """A message full of sentinels; None removes a property."""
    whole = {
        "deviceId": device,
        "endDate": f"{DAY}T08:00:00Z",
        "patientId": PATIENT,
        "encounterId": ENCOUNTER,
        "session": CORRELATION,
        **content,
    }
    return {name: value for name, value in whole.items() if value is not None}


class Run(NamedTuple):
    """What the run left: its logs, the HTTP responses that are errors, and the positions of all its messages."""

    ward: Ward
    logs: Path
    refusals: list[httpx.Response]
    positions: list[Position]


class Story:
    """The messages, faults and requests of the run, in order."""

    def __init__(self, ward: Ward, tables: FaultProxy, fhir: FaultProxy) -> None:
        self.ward = ward
        self.tables = tables
        self.fhir = fhir
        self.positions: list[Position] = []
        self.refusals: list[httpx.Response] = []

    def play(self) -> Run:
        self._admit()
        self._write_and_merge()
        self._break_messages()
        self._fail_to_look_up()
        self._refuse_an_observation()
        self._take_the_fhir_server_away()
        self._take_storage_away()
        self._ask_over_http()
        return Run(self.ward, self.ward.stack.log_folder, self.refusals, self.positions)

    def _deliver(self, *bodies: dict[str, Any] | str | bytes) -> None:
        self.positions += self.ward.deliver(bodies)

    def _admit(self) -> None:
        ward = self.ward
        ward.put({"resourceType": "Patient", "id": "wearer", "identifier": [{"value": PATIENT}]})
        encounter = {"resourceType": "Encounter", "id": "visit", "identifier": [{"value": ENCOUNTER}]}
        ward.put(encounter | {"status": "finished", "class": {"code": "AMB"}})
        for device in ("monitor", "twin-1", "twin-2", "unworn"):
            resource: dict[str, Any] = {"resourceType": "Device", "id": device}
            resource["identifier"] = [{"value": device.partition("-")[0]}]
            if device != "unworn":
                resource["patient"] = {"reference": "Patient/wearer"}
            ward.put(resource)

    def _write_and_merge(self) -> None:
        self._deliver(message(pulse=1), message(inSession=float(READING)))
        self.ward.flush()
        self._deliver(message(pulse=float(READING), endDate=f"{DAY}T08:00:00.5Z"))
        self.ward.flush()

    def _break_messages(self) -> None:
        self.positions += self.ward.stack.post_events(
            [{"body": TEXT, "properties": {"note": PROPERTY}, "enqueuedTime": ENQUEUED}]
        )
        whole = json.dumps(message(pulse=float(READING), note=TEXT))
        self._deliver(
            whole[:-1],
            whole.replace("{", "{{", 1),
            whole.replace(TEXT, TEXT + "\N{LATIN SMALL LETTER U WITH DIAERESIS}").encode("latin-1"),
            '{"a":' * 50_000 + whole + "}" * 50_000,
            f"{TEXT} {PATIENT}",
        )
        self._deliver(
            message(deviceId=None, pulse=float(READING)),
            message(pulse=float(READING), endDate=TEXT),
            message(inSession=float(READING), session=None),
            message(pulse=[TEXT, PATIENT]),
            message(summand=float(READING)),
            message(summand=TEXT),
            message(milliseconds=TEXT),
            message(text=TEXT),
            message(unwritten=float(READING)),
            message(pulse=TEXT, endDate=f"{DAY}T08:20:00Z"),
            message(nothing=TEXT),
        )
        self.ward.flush()

    def _fail_to_look_up(self) -> None:
        self._deliver(
            message("stranger", pulse=float(READING)),
            message("twin", pulse=float(READING)),
            message("unworn", pulse=float(READING)),
            message(pulse=float(READING), encounterId=f"{ENCOUNTER}-unknown"),
        )
        self.ward.flush()

    def _refuse_an_observation(self) -> None:
        """The server explains itself at length, with the Observation in its OperationOutcome."""

        def refused(bundle: Any) -> Any:
            for entry in bundle["entry"]:
                echo = {"severity": "error", "code": "invalid", "diagnostics": json.dumps(entry.pop("resource"))}
                outcome = {"resourceType": "OperationOutcome", "issue": [echo]}
                entry["response"] = {"status": "422", "outcome": outcome}
            return bundle

        self.fhir.rewrite(refused, when=writes)
        self._deliver(message(inSession=float(READING), session=f"{CORRELATION}-refused"))
        self.ward.flush()

    def _take_the_fhir_server_away(self) -> None:
        self._deliver(message(pulse=float(READING), endDate=f"{DAY}T09:00:00Z"))
        for status in (500, 503, 429, 401, 403):
            echo = f"{status}: {PATIENT} {READING} {CORRELATION} {ENCOUNTER} {TEXT}".encode()
            self.fhir.answer(status, echo, {**NOT_SOON, "X-Echo": TEXT}, when=writes, times=None)
            self.ward.flush()
            self.fhir.clear()
        self.fhir.cut_before(when=writes)
        self.fhir.answer(503, headers=NOT_SOON)
        self.ward.flush()
        self.fhir.clear()
        self.ward.crash_worker()
        self.ward.stack.fhir.stop()
        self.ward.flush()
        self.ward.stack.fhir.start()
        self.ward.stack.fhir.wait_until_ready()
        self.ward.flush()

    def _take_storage_away(self) -> None:
        def writes_a_segment(request: ProxiedRequest) -> bool:
            return request.method in ("PATCH", "PUT", "MERGE") and "/buffer(" in request.path

        stack = self.ward.stack
        failed = stack.invocations("normalize")["failed"]
        # One partition gets an unexpected answer, the other none.
        strange = {"odata.error": {"code": "InvalidInput", "message": {"lang": "en-US", "value": "Not valid."}}}
        self.tables.answer(400, json.dumps(strange).encode(), when=writes_a_segment)
        self.tables.cut_before(when=writes_a_segment)
        for partition in ("1", "2"):
            body = message(pulse=float(READING), endDate=f"{DAY}T1{partition}:00:00Z", note=TEXT)
            self.positions += self.ward.send([body, f"{TEXT} {PATIENT}"], partition)
        wait_until(lambda: stack.invocations("normalize")["failed"] >= failed + 2)
        stack.wait_until_read()
        self.tables.cut_before(times=None)
        self.ward.flush()
        self.tables.clear()
        self.ward.flush()

    def _ask_over_http(self) -> None:
        """Requests that are refused, and one that succeeds, which must not log its content either."""
        whole = message(pulse=float(READING), note=TEXT)
        requests: list[dict[str, Any]] = [
            {"content": json.dumps(whole)[:-1]},
            {"content": f"{TEXT} {PATIENT}".encode("utf-16")},
            {"json": whole},
            {"json": [whole]},
            {"json": {"deviceMessages": whole}},
            {"json": {"deviceMessages": [{"Body": whole, "Properties": [PROPERTY]}]}},
            {"json": {"deviceMapping": [TEXT]}},
            {"json": {"deviceMessages": [whole], "aggregate": TEXT}},
            {"content": json.dumps({"deviceMessages": [whole] * 30_000})},
        ]
        for request in requests:
            answer = self.ward.stack.call("POST", "/api/validate", params={"note": TEXT}, **request)
            assert answer.status_code in (400, 413)
            self.refusals.append(answer)
        for path in ("/api/validate", f"/api/{TEXT}"):
            self.refusals.append(httpx.post(f"{self.ward.stack.host_url}{path}", json=whole))
        self.refusals.append(self.ward.stack.call("GET", "/api/health"))
        tried = [whole, message(summand=TEXT), message(pulse=TEXT), {"Body": f"{TEXT} {PATIENT}"}]
        answer = self.ward.stack.call("POST", "/api/validate", json={"deviceMessages": tried})
        assert answer.status_code == 200 and TEXT in answer.text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("sentinels")
    with behind_proxies(folder / "stack", _settings(folder, "Lookup"), "Debug") as wires:
        yield Story(*wires).play()


@pytest.fixture(scope="module")
def creating_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A short run in Create mode, in which the app writes patient ids to the FHIR server and compares them."""
    folder = tmp_path_factory.mktemp("creating-sentinels")
    with behind_proxies(folder / "stack", _settings(folder, "Create"), "Debug") as (ward, _, fhir):
        for name in ("one", "two"):
            ward.put({"resourceType": "Patient", "id": name, "identifier": [{"value": f"{PATIENT}-twice"}]})
        taken = sha256(f"_{PATIENT}-taken".encode()).hexdigest()
        ward.put({"resourceType": "Patient", "id": taken, "identifier": [{"value": "another"}]})
        positions = ward.deliver(
            [
                message("own", pulse=float(READING), encounterId=None),
                message("own", pulse=float(READING), encounterId=None, patientId=f"{PATIENT}-other"),
                message("nobody's", pulse=float(READING), encounterId=None, patientId=" "),
                message("shared", pulse=float(READING), encounterId=None, patientId=f"{PATIENT}-twice"),
                message("taken", pulse=float(READING), encounterId=None, patientId=f"{PATIENT}-taken"),
            ]
        )
        echo = f"{PATIENT} {READING}".encode()
        fhir.answer(503, echo, NOT_SOON, when=writes)
        for _ in range(2):
            ward.flush()
        yield Run(ward, ward.stack.log_folder, [], positions)


@pytest.fixture(params=["run", "creating_run"])
def any_run(request: pytest.FixtureRequest) -> Run:
    played: Run = request.getfixturevalue(request.param)
    return played


def _settings(folder: Path, resolution: str) -> dict[str, str]:
    settings = {"VALIDATE_MAX_BYTES": "1048576", "RESOURCE_IDENTITY_RESOLUTION_TYPE": resolution}
    for name, mapping in (("DEVICE_MAPPING", DEVICE_MAPPING), ("FHIR_MAPPING", FHIR_MAPPING)):
        settings[name] = str(folder / f"{name}.json")
        Path(settings[name]).write_text(json.dumps(mapping))
    return settings


def forms(sentinel: str) -> list[str]:
    """How a text may appear in a log: as it is, in hexadecimal digits, or inside base64 at any of three offsets."""
    raw = sentinel.encode()
    within_base64 = [base64.b64encode(b"x" * offset + raw).decode()[4 if offset else 0 : -4] for offset in range(3)]
    return [sentinel, raw.hex(), *within_base64]


def traces(logs: Path, sentinel: str) -> list[str]:
    """The log lines that contain the sentinel in any form, without regard to case."""
    wanted = [form.lower() for form in forms(sentinel)]
    lines = [
        line for path in logs.rglob("*") if path.is_file() for line in path.read_text("utf-8", "replace").split("\n")
    ]
    return [line for line in lines if any(form in line.lower() for form in wanted)]


@pytest.mark.parametrize("sentinel", SENTINELS.values(), ids=SENTINELS)
def test_no_log_line_holds_it(any_run: Run, sentinel: str) -> None:
    assert traces(any_run.logs, sentinel) == []


@pytest.mark.parametrize("sentinel", SENTINELS.values(), ids=SENTINELS)
def test_no_http_error_holds_it(run: Run, sentinel: str) -> None:
    assert [answer.text for answer in run.refusals if sentinel in answer.text or sentinel in str(answer.headers)] == []


@pytest.mark.parametrize("form", range(5), ids=["plain", "hex", "base64", "base64 + 1", "base64 + 2"])
@pytest.mark.parametrize("sentinel", SENTINELS.values(), ids=SENTINELS)
def test_the_search_finds_what_is_planted(tmp_path: Path, sentinel: str, form: int) -> None:
    raw = f"xx{sentinel} and more".encode()
    planted = [raw.decode(), raw.hex().upper(), *(base64.b64encode(raw[2 - n :]).decode() for n in range(3))][form]
    (tmp_path / "host.log").write_text(f"INFO first\nDEBUG medtech: {planted}\nINFO last\n")
    assert traces(tmp_path, sentinel) == [f"DEBUG medtech: {planted}"]


@pytest.mark.parametrize(
    "marker",
    [
        "DEBUG ",
        "DeviceNotFound",
        "PatientNotFound",
        "EncounterNotFound",
        "MultipleResourceFound",
        "IncompatibleData",
        "NotSupported",
        "ReadingInvalid",
        "ResourceRefused",
        "TemplateNotFound",
        "StorageUnavailable",
        "StorageRefused",
        "Traceback",
        "The FHIR server answered 503",
        "The FHIR server answered 500",
        "gave no answer",
        "answered 401",
        "answered 403",
    ],
)
def test_the_logs_mention_everything_that_the_run_played(run: Run, marker: str) -> None:
    assert traces(run.logs, marker)


def test_everything_arrived_where_it_belongs(run: Run) -> None:
    stored = json.dumps(run.ward.observations("monitor"))
    letters = repr(run.ward.letters(run.positions))
    assert [name for name, sentinel in SENTINELS.items() if sentinel in stored] == ["reading", "correlation id"]
    assert [name for name, sentinel in SENTINELS.items() if sentinel in letters] == list(SENTINELS)


def test_what_a_server_said_is_kept_with_the_letter(run: Run) -> None:
    [refused] = [letter for letter in run.ward.letters(run.positions) if letter.error == "ResourceRefused"]
    assert refused.outcome is not None and f"{CORRELATION}-refused" in refused.outcome


def test_the_run_in_create_mode_fails_in_every_way(creating_run: Run) -> None:
    letters = creating_run.ward.letters(creating_run.positions)
    assert [letter.error for letter in letters] == [
        "PatientDeviceMismatch",
        "PatientIdentityNotDefined",
        "MultipleResourceFound",
        "IdentityConflict",
    ]
    assert traces(creating_run.logs, "1 created") and traces(creating_run.logs, "The FHIR server answered 503")


def test_the_messages_of_letters_hold_no_health_data(any_run: Run) -> None:
    """A list of letters shows these messages."""
    shown = [letter.message for letter in any_run.ward.letters(any_run.positions)]
    assert shown
    assert [each for each in shown if any(sentinel in each for sentinel in SENTINELS.values())] == []
