"""The evaluation budget of a message: whatever the mapping and the message are, it ends, after the same steps."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bench import normalize as bench_normalize
from bench import workloads
from medtech.errors import ErrorType, MessageTooCostly, Stage
from medtech.evaluation_budget import DATE_STEPS, EvaluationBudget
from medtech.mapping.allowance import BASE_STEPS, MOST_STEPS
from medtech.mapping.device import DeviceMapping, load_device_mapping
from medtech.model import DeviceEvent, Normalized
from medtech.normalize.batch import normalize

POISON: list[dict[str, Any]] = json.loads((Path(__file__).parent / "poison.json").read_text(encoding="utf-8"))
_TIME = "2024-02-29T10:00:00Z"


def _readings(count: int, id: int = 8) -> Any:
    return {"id": "d" * id, "t": _TIME, "data": [{"k": k, "v": f"{k}", "x": 1} for k in range(count)]}


def _nested(names: list[str], depth: int, beside: int = 0, v: int = 0) -> Any:
    """Objects one in the other; each has an array with so many elements beside, the innermost a text of `v`."""
    token: Any = {"hx": 1, "v": "v" * v}
    for level in range(depth):
        token = {names[-1 - level % len(names)]: token}
        if beside:
            token["beside"] = [0] * beside
    return {"id": "d", "t": _TIME, "data": token}


def _array(depth: int, count: int) -> Any:
    token: Any = 0
    for _ in range(depth):
        token = [token] * count
    return {"id": "d", "t": _TIME, "data": token}


BODIES: dict[str, Callable[..., Any]] = {"readings": _readings, "nested": _nested, "array": _array}


def _event(body: Any, number: int = 1) -> DeviceEvent:
    return DeviceEvent(json.dumps(body, separators=(",", ":")).encode(), {}, {}, 0, "0a1b2c3d", "0", number)


def _expression(text: str, case: dict[str, Any]) -> Any:
    before, brace, rest = text.partition("{|")
    while brace:
        repeated, _, after = rest.partition("}")
        text = before + f"|{repeated}" * case["repeat"] + after
        before, brace, rest = text.partition("{|")
    return {"value": text, "language": "JsonPath" if text.startswith("$") else "JmesPath"}


def _mapping(case: dict[str, Any]) -> DeviceMapping:
    templates = [
        {
            "templateType": "CalculatedContent",
            "template": {
                "typeName": f"type{number}",
                "typeMatchExpression": _expression(case["match"], case),
                "deviceIdExpression": _expression(case.get("device", "$.Body.id"), case),
                "timestampExpression": "$.Body.t",
                "values": [
                    {
                        "valueName": "v",
                        "valueExpression": _expression(case.get("value", "$.Body.t"), case),
                        "required": True,
                    }
                ],
            },
        }
        for number in range(case.get("templates", 1))
    ]
    return load_device_mapping(json.dumps({"templateType": "CollectionContent", "template": templates}))


def _run(case: dict[str, Any]) -> tuple[Normalized, EvaluationBudget]:
    mapping = _mapping(case)
    builder, arguments = case["body"]
    event = _event(BODIES[builder](**arguments))
    budget = EvaluationBudget(mapping.allowed_steps(len(event.body)))
    return mapping.normalize(event, budget), budget


def steps(names: Iterable[str]) -> dict[str, float]:
    """How many steps the cases of these names take."""
    return {case["name"]: _run(case)[1].spent for case in POISON if case["name"] in names}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", POISON, ids=lambda case: case["name"])
def test_every_message_ends_with_its_measurements_or_as_one_failure(case: dict[str, Any]) -> None:
    (measurements, failures), budget = _run(case)
    if isinstance(case["outcome"], int):
        assert not failures
        assert len(measurements) == case["outcome"]
        assert budget.left >= 0
    else:
        assert not measurements
        assert [(failure.error.name, failure.template, failure.match) for failure in failures] == [
            (case["outcome"], -1, -1)
        ]


SMALL = ["a text doubled by join", "an array doubled by merge", "scans in filters in filters", "ordinary readings"]


def test_the_same_message_takes_the_same_steps_in_every_process() -> None:
    here = steps(SMALL)
    assert steps(SMALL) == here
    program = f"import json; from tests.mapping.test_budget import steps; print(json.dumps(steps({SMALL!r})))"
    for seed in ("1", "2"):
        output = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout
        assert json.loads(output) == here


@pytest.mark.parametrize("name", ["single", "seventeen", "batch", "jmespath"])
def test_the_workloads_of_bench_take_less_than_a_tenth(name: str) -> None:
    mapping = bench_normalize.load(name)
    messages = {"single": workloads.single, "seventeen": workloads.seventeen}.get(name, workloads.batch)
    for event in bench_normalize.events(messages()):
        budget = EvaluationBudget(mapping.allowed_steps(len(event.body)))
        measurements, _ = mapping.normalize(event, budget)
        assert measurements
        assert budget.spent < budget.steps / 10


def test_the_budget_grows_with_the_body_and_the_templates_up_to_a_limit() -> None:
    one, many = (_mapping({"match": "$..[?(@.v)]", "templates": number}) for number in (1, 10))
    assert BASE_STEPS <= one.allowed_steps(0) < one.allowed_steps(100) < many.allowed_steps(100) < MOST_STEPS
    assert one.allowed_steps(10**9) == MOST_STEPS


PRODUCT = {"match": "$..x..y..z..w"}


def _poison() -> Any:
    return _nested(["x", "y", "z", "w"], 480)


def test_the_error_names_the_expression_and_nothing_of_the_message() -> None:
    [failure] = _mapping(PRODUCT).normalize(_event(_poison())).failures
    error = failure.error
    assert isinstance(error, MessageTooCostly)
    assert (error.stage, error.type, error.line) == (Stage.NORMALIZATION, ErrorType.DEVICE_MESSAGE, 1)
    assert error.message.startswith(
        "Template 0 ('type0'), 'typeMatchExpression': $..x..y..z..w (line 1 of the device mapping) takes the message "
        "past its 1,"
    )


def test_the_error_names_the_field_that_is_too_long() -> None:
    [failure] = _mapping({"match": "$..[?(@.v)]"}).normalize(_event(_readings(9000, 500_000))).failures
    assert "'deviceIdExpression'" in failure.error.message
    assert len(failure.error.message) < 1000


@pytest.mark.timeout(60)
def test_regular_expressions_of_a_message_have_a_second() -> None:
    body = {"id": "d", "t": _TIME, "data": [{"v": "a" * 60 + "b"}] * 2000}
    [failure] = _mapping({"match": "$..[?(@.v =~ /(a|aa)+$/)]"}).normalize(_event(body)).failures
    assert isinstance(failure.error, MessageTooCostly)
    assert "past their 1 s" in failure.error.message


def test_neighbours_of_a_message_that_is_too_costly_go_through() -> None:
    mapping = _mapping({"match": "$.Body.data[?(@..x..y..z..w || @.v)]"})
    events = [_event(_readings(3), 1), _event({"data": [_poison()["data"]]}, 2), _event(_readings(2), 3)]
    batch = normalize(events, mapping)
    assert [measurement.sequence_number for measurement in batch.measurements] == [1, 1, 1, 3, 3]
    [(event, [failure])] = batch.failed
    assert event.sequence_number == 2
    assert failure.error.name == "MessageTooCostly"


def test_a_template_that_is_too_costly_leaves_no_measurements_of_the_others() -> None:
    ordinary, costly = ({"match": "$..[?(@.hx)]"}, PRODUCT)
    texts = [
        {"templateType": "CalculatedContent", "template": template}
        for case in (ordinary, costly)
        for template in [
            {
                "typeName": "t",
                "typeMatchExpression": case["match"],
                "deviceIdExpression": "$.Body.id",
                "timestampExpression": "$.Body.t",
            }
        ]
    ]
    mapping = load_device_mapping(json.dumps({"templateType": "CollectionContent", "template": texts}))
    measurements, failures = mapping.normalize(_event(_poison()))
    assert not measurements
    assert len(failures) == 1


@pytest.mark.parametrize(
    "match", ["$.Body.data[?(@ > '2020-01-01')]", "$.Body.data[?(@ == 'x')]", "Body.data[?@ > 'x']", "sort(Body.data)"]
)
def test_dates_are_charged_for_being_read(match: str) -> None:
    """A date takes 2 us to be read; uncharged, 1 MiB of them in every template took a minute."""
    texts = ["a" * len(_TIME)] * 100
    plain, dates = (
        _spent(_mapping({"match": match}), {"id": "d", "t": _TIME, "data": data}) for data in (texts, [_TIME] * 100)
    )
    assert dates >= plain + 100 * DATE_STEPS


def _spent(mapping: DeviceMapping, body: Any) -> float:
    event = _event(body)
    budget = EvaluationBudget(mapping.allowed_steps(len(event.body)))
    mapping.normalize(event, budget)
    return budget.spent


@pytest.mark.parametrize("templates", [1, 2, 17])
def test_a_small_body_that_is_not_counted_cannot_spend_its_budget(templates: int) -> None:
    mapping = _mapping({"match": "$..[?(@.v)]", "value": "$.Body.id", "templates": templates})
    size = mapping._uncounted_bytes
    assert size >= 256
    for readings in (1, size // 20, size // 10):
        id = max(0, size - len(_event({"id": "", "t": _TIME, "data": [{"v": 1}] * readings}).body))
        body = {"id": "d" * id, "t": _TIME, "data": [{"v": 1}] * readings}
        assert _spent(mapping, body) <= BASE_STEPS


def test_a_mapping_that_evaluates_is_counted_whatever_the_size() -> None:
    assert _mapping({"match": "$..[?(@.v > 1)]"})._uncounted_bytes == 0
    assert _mapping({"match": "$..[?(@.v)]", "value": "to_string(matchedToken)"})._uncounted_bytes == 0
    assert _mapping({"match": "$..v"})._uncounted_bytes == 0
