"""What Functions reads of the app: triggers, retry policy, host.json, start-up."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import azure.functions as func
import pytest

from bench.first_batch import settings
from dev.host_config import seconds
from dev.queue_listener import HIDDEN_SECONDS
from medtech.flush.shard_marks import LIFE_SECONDS
from medtech.storage.lease import LEASE_SECONDS

ROOT = Path(__file__).parent.parent
HEAVY = [
    "authlib",
    "azure.core",
    "azure.data.tables",
    "pydantic",
    "azure.identity",
    "azure.monitor",
    "azure.storage.blob",
    "azure.storage.queue",
    "google.protobuf",
    "opentelemetry.exporter",
    "opentelemetry.sdk",
    "fhir.resources",
    "httpx",
    "joserfc",
    "lark",
    "requests",
    "rich",
    "typer",
    "ucumvert",
]

NOT_FOR_INGEST = [
    *(name for name in HEAVY if name != "azure.data.tables"),
    "click",
    "dotenv",
    "multiprocessing",
    "opentelemetry",
    "pydantic_settings",
    "_strptime",
    "medtech.flush",
    "medtech.persist",
    "medtech.transform",
    "medtech.validation",
]
"""What the first batch of a worker does without, under settings of the usual kind and with no telemetry going out."""

INGEST_MODULES = 420
"""What a worker may have loaded more after its first batch than after its start."""


@cache
def functions() -> dict[str, func.decorators.function_app.Function]:
    import function_app

    return {function.get_function_name(): function for function in function_app.app.get_functions()}


def test_the_app_has_its_triggers() -> None:
    assert {name: type(function.get_trigger()).__name__ for name, function in functions().items()} == {
        "normalize": "EventHubTrigger",
        "flush": "TimerTrigger",
        "validate": "HttpTrigger",
        "health": "HttpTrigger",
        "dead_letters": "HttpTrigger",
        "replay": "HttpTrigger",
        "replay_status": "HttpTrigger",
        "dead_letter": "HttpTrigger",
        "comparison": "HttpTrigger",
        "difference": "HttpTrigger",
        "debugger": "HttpTrigger",
        "mappings": "HttpTrigger",
    }


def _asked(code: str, **environment: str) -> str:
    """What Python prints that imports the app in an environment of its own."""
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys, json, function_app; {code}"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.strip()


@pytest.mark.parametrize("fanout", ["queue", " Queue "])
@pytest.mark.parametrize(
    ("storage", "connection"),
    [({}, "AzureWebJobsStorage"), ({"BufferStorage__accountName": "account"}, "BufferStorage")],
)
def test_by_queue_there_is_one_trigger_more_over_the_apps_own_storage(
    fanout: str, storage: dict[str, str], connection: str
) -> None:
    code = (
        "found = {each.get_function_name(): each for each in function_app.app.get_functions()}; "
        "print(len(found), found['flush_shard'].get_function_json())"
    )
    count, trigger = _asked(code, FLUSH_FANOUT=fanout, **storage).split(" ", 1)
    [binding] = json.loads(trigger)["bindings"]
    assert count == "13"
    assert (binding["type"], binding["queueName"], binding["connection"]) == (
        "queueTrigger",
        "medtech-flush",
        connection,
    )


def test_a_shard_that_ends_the_process_is_tried_again_only_when_its_lease_has_ended() -> None:
    """Else the next try would find the lease held, end without a failure, and its tries would never be counted."""
    queues = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
    tries, visibility_seconds = queues["maxDequeueCount"], seconds(queues["visibilityTimeout"])
    assert visibility_seconds > LEASE_SECONDS
    assert visibility_seconds < LIFE_SECONDS, "else its mark has lapsed, and a new message counts anew"
    assert HIDDEN_SECONDS < LIFE_SECONDS
    assert tries > 1


def test_an_instance_flushes_one_shard_at_a_time() -> None:
    """A shard that ends the process would take others with it, and their messages to the poison queue."""
    queues = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
    assert (queues["batchSize"], queues["newBatchThreshold"]) == (1, 0)


@pytest.mark.parametrize(
    ("name", "route", "method"),
    [
        ("dead_letters", "dead-letters", "GET"),
        ("dead_letter", "dead-letters/{id}", "GET"),
        ("comparison", "comparison", "GET"),
        ("difference", "comparison/{id}", "GET"),
        ("mappings", "mappings", "GET"),
        ("replay", "replay", "POST"),
        ("replay_status", "replay/{job}", "GET"),
    ],
)
def test_what_shows_letters_or_mappings_takes_the_master_key(name: str, route: str, method: str) -> None:
    trigger, _ = json.loads(functions()[name].get_function_json())["bindings"]
    assert (trigger["authLevel"].lower(), trigger["route"], trigger["methods"]) == ("admin", route, [method])


def test_every_other_http_function_takes_a_function_key() -> None:
    triggers = {name: json.loads(each.get_function_json())["bindings"][0] for name, each in functions().items()}
    levels = {name: each["authLevel"].lower() for name, each in triggers.items() if each["type"] == "httpTrigger"}
    assert {name for name, level in levels.items() if level == "function"} == {"validate", "health"}
    assert {name for name, level in levels.items() if level == "anonymous"} == {"debugger"}, "a page that holds nothing"


def test_events_come_in_batches_of_bytes() -> None:
    [trigger] = json.loads(functions()["normalize"].get_function_json())["bindings"]
    assert trigger["cardinality"].lower() == "many"
    assert trigger["dataType"].lower() == "binary"


def test_the_checkpoint_waits_for_ever_while_storage_is_away() -> None:
    retry = functions()["normalize"].get_settings_dict("retry_policy")
    assert retry["max_retry_count"] == "-1"
    assert retry["strategy"] == "exponential_backoff"


def test_a_cancelled_batch_is_never_checkpointed_by_its_successor() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    assert host["extensions"]["eventHubs"]["batchCheckpointFrequency"] == 1
    assert host["extensionBundle"]["version"] == "[4.28.0, 5.0.0)"


def test_a_quiet_partition_never_waits_for_a_batch_to_fill() -> None:
    """With a minimum the extension keeps a timer, which a checkpoint that throws stops for good."""
    host = json.loads((ROOT / "host.json").read_text())
    assert host["extensions"]["eventHubs"]["minEventBatchSize"] == 1


@pytest.mark.parametrize("fanout", ["timer", "queue"])
def test_start_up_imports_nothing_heavy(fanout: str) -> None:
    code = f"print([name for name in {HEAVY!r} if name in sys.modules])"
    assert _asked(code, FLUSH_FANOUT=fanout) == "[]"


def test_the_first_batch_imports_only_what_ingest_needs(azurite: str) -> None:
    code = (
        "import json, sys; from bench.first_batch import start; made = start(); "
        f"print(json.dumps([made.batch_modules, [name for name in {NOT_FOR_INGEST!r} if name in sys.modules]]))"
    )
    environment = os.environ | settings(azurite)
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    modules, needless = json.loads(answer.stdout)
    assert needless == []
    assert modules <= INGEST_MODULES
