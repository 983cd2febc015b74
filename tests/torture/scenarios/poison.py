"""Messages that take unbounded time or memory: a partition must not stand for them, and their neighbours go through."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from tests.torture.scenario import scenario
from tests.torture.site import EVERY_SECOND, MACHINE, READING_SECONDS, Site
from tests.torture.traffic import START, Message

MESSAGES = 300
POISON_SHARE = 0.01

DEADLY_TEXT = "ends-the-process"

QUICK = {
    "AzureFunctionsJobHost__functionTimeout": "00:00:30",
    "FLUSH_SCHEDULE": EVERY_SECOND,
    "PYTHONPATH": str(MACHINE),
    "MEMORY_LIMIT_MB": "2048",
    "DEADLY_TEXT": DEADLY_TEXT,
}
"""What runs past functionTimeout takes its worker with it; the ten minutes of the app are only longer."""


def _scans() -> dict[str, Any]:
    """2.7 KB on which `$..x..y..z..w` takes for ever: each step multiplies what the next one starts from."""
    nested: Any = 1
    for depth in range(240):
        nested = {"xyz"[depth % 3]: nested}
    return {"scans": nested}


def _slow_expression() -> dict[str, Any]:
    return {"texts": [{"text": "a" * 22 + "b"} for _ in range(2000)]}


def _deep() -> dict[str, Any]:
    """600 KB nested 480 deep, of which each level is looked through for each level above it."""
    nested: Any = {"hx": 1}
    for _ in range(480):
        nested = {"n": nested, "beside": [0] * 400}
    return {"deep": nested}


def _wide() -> dict[str, Any]:
    """824 KB that name a device of 500 KB for each of 9,000 readings: 4.5 GB if packed at once."""
    reading = {"at": f"{START:%Y-%m-%dT%H:%M:%S}Z", "wide": 1}
    return {"wide_device": "w" * 500_000, "wide_readings": [reading] * 9000}


def _compared() -> dict[str, Any]:
    return {"compared": [{"k": number} for number in range(10_000)]}


def _deadly() -> dict[str, Any]:
    return {"deadly": DEADLY_TEXT}


class Kind(NamedTuple):
    """What a message has besides `poison`, the template that it is poison to, and the errors that it may become."""

    content: Callable[[], dict[str, Any]]
    template: dict[str, str]
    errors: tuple[str, ...] = ("MessageTooCostly",)


KINDS = {
    "scans": Kind(_scans, {"typeMatchExpression": "$.Body.scans..x..y..z..x..y..z..w"}),
    "expression": Kind(_slow_expression, {"typeMatchExpression": "$.Body.texts[?(@.text =~ /^(a|aa)+$/)]"}),
    "deep": Kind(_deep, {"typeMatchExpression": "$.Body.deep..[?(@..hx)]"}),
    "root": Kind(_compared, {"typeMatchExpression": "$.Body.compared[?(@.k == $..k)]"}),
    "wide": Kind(
        _wide,
        {"typeMatchExpression": "$.Body.wide_readings[*]", "deviceIdExpression": "$.Body.wide_device"},
    ),
    "deadly": Kind(_deadly, {"typeMatchExpression": "$.Body.nothing"}, ("PoisonMessage",)),
}


def _template(name: str, expressions: dict[str, str]) -> dict[str, Any]:
    content = {
        "typeName": name,
        "deviceIdExpression": "$.Body.device",
        "timestampExpression": "$.matchedToken.at",
        "values": [{"valueName": "value", "valueExpression": "$.matchedToken.wide", "required": "true"}],
    }
    return {"templateType": "CalculatedContent", "template": content | expressions}


def _poisoned(kind: str) -> Callable[[Site], None]:
    def play(site: Site) -> None:
        """One message of a hundred, and at least one, is poison."""
        content, expressions, errors = KINDS[kind]
        mapping = json.loads(site.device_mapping.read_text())
        mapping["template"].append(_template(kind, expressions))
        site.device_mapping.write_text(json.dumps(mapping))
        messages: list[Message] = []
        poison = 0
        for message in site.traffic.messages(MESSAGES):
            if site.chance.random() < POISON_SHARE or len(messages) == MESSAGES // 2:
                poison += 1
                body = json.dumps({"poison": kind, "device": "device-1", **content()}).encode()
                messages.append(message._replace(body=body, partition=str(site.chance.randrange(site.partitions))))
            messages.append(message)
        with suppress(TimeoutError), site.timed(f"until {len(messages)} messages, {poison} of them poison, were read"):
            site.send(messages)
            site.stack.wait_until_read(timeout_seconds=READING_SECONDS)  # or else the verdict says that it is stuck
        found = site.errors()
        assert sum(found[error] for error in errors) == poison, f"{poison} were to be {errors}: {found}"

    return play


for _kind in KINDS:
    scenario(f"poison-{_kind}", settings=QUICK)(_poisoned(_kind))


@scenario("poison-letters")
def long_letters(site: Site) -> None:
    """A device id of 8,000 é, of 100 readings whose letters together are more than storage takes at once."""
    device = "stranger-" + "é" * 8000
    readings = [{"at": f"2026-03-02T08:00:{second:02d}Z", "pulse": 10**6 + second} for second in range(60)]
    for _ in range(3):
        body = json.dumps({"device": device, "readings": readings}, ensure_ascii=False).encode()
        site.deliver([*site.traffic.messages(30), site.traffic.enqueue(body), *site.traffic.messages(30)])
        site.flush()
        readings = [{**reading, "pulse": reading["pulse"] + 1000} for reading in readings]
