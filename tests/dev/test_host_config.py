"""host.json as the host reads it."""

import json
from pathlib import Path
from typing import Any

import pytest

from dev.host_config import EventHubOptions, HostConfigInvalid, QueueOptions, load_host_config, seconds


def load(folder: Path, document: Any, settings: dict[str, str] | None = None) -> Any:
    (folder / "host.json").write_text(json.dumps(document))
    return load_host_config(folder, settings or {})


def test_defaults_are_the_documented_ones(tmp_path: Path) -> None:
    config = load(tmp_path, {"version": "2.0"})
    assert config.event_hubs == EventHubOptions(100, 1, 60.0, 1)
    assert config.queues == QueueOptions(16, 8, 5, 0.0, 60.0, True)
    assert config.worker_processes == 1
    assert (config.route_prefix, config.function_timeout_seconds) == ("api", 1800)


def test_a_setting_stands_over_the_file_without_regard_to_case(tmp_path: Path) -> None:
    document = {"version": "2.0", "extensions": {"eventHubs": {"maxWaitTime": "00:00:10", "maxEventBatchSize": 500}}}
    settings = {
        "AzureFunctionsJobHost__Extensions__EventHubs__MaxWaitTime": "00:00:00.25",
        "AZUREFUNCTIONSJOBHOST__logging__logLevel__default": "Debug",
        "AzureFunctionsJobHost__functionTimeout": "-1",
    }
    config = load(tmp_path, document, settings)
    assert config.event_hubs == EventHubOptions(500, 1, 0.25, 1)
    assert config.function_timeout_seconds is None
    assert config.log_level("Function.any.User") == 1


def test_queues_are_read_as_the_extension_reads_them(tmp_path: Path) -> None:
    queues = {"batchSize": 5, "maxDequeueCount": 2, "visibilityTimeout": "00:01:30", "maxPollingInterval": "00:00:02"}
    document = {"version": "2.0", "extensions": {"queues": queues | {"messageEncoding": "None"}}}
    assert load(tmp_path, document).queues == QueueOptions(5, 2, 2, 90.0, 2.0, False)


@pytest.mark.parametrize(("text", "count"), [("", 1), ("0", 1), ("4", 4), ("10", 10)])
def test_workers_are_as_many_as_the_setting_says(tmp_path: Path, text: str, count: int) -> None:
    assert load(tmp_path, {"version": "2.0"}, {"FUNCTIONS_WORKER_PROCESS_COUNT": text}).worker_processes == count


@pytest.mark.parametrize("text", ["11", "many"])
def test_workers_beyond_what_azure_starts_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(HostConfigInvalid):
        load(tmp_path, {"version": "2.0"}, {"FUNCTIONS_WORKER_PROCESS_COUNT": text})


@pytest.mark.parametrize(
    ("category", "level"),
    [
        ("Other", 2),
        ("Function", 3),
        ("Function.normalize.User", 3),
        ("Function.flush.User", 1),
        ("Function.flusher.User", 3),
    ],
)
def test_the_longest_category_prefix_sets_the_level(tmp_path: Path, category: str, level: int) -> None:
    levels = {"default": "Information", "Function": "Warning", "Function.flush": "Debug"}
    assert load(tmp_path, {"version": "2.0", "logging": {"logLevel": levels}}).log_level(category) == level


@pytest.mark.parametrize(
    ("text", "value"), [("00:00:10", 10), ("01:02:03.5", 3723.5), ("1.00:00:00", 86_400), ("00:00:00.0000001", 1e-7)]
)
def test_time_spans(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    "document",
    [
        {"version": "2.0", "extensions": {"eventHubs": {"maxWaitTime": "ten seconds"}}},
        {"version": "2.0", "extensions": {"eventHubs": {"maxEventBatchSize": "many"}}},
        {"version": "2.0", "logging": {"logLevel": {"default": "Loud"}}},
        {"version": "2.0", "extensions": {"queues": {"batchSize": 33}}},
        {"version": "2.0", "extensions": {"queues": {"maxDequeueCount": 0}}},
        {"version": "2.0", "extensions": {"queues": {"newBatchThreshold": -1}}},
        {"version": "2.0", "extensions": {"queues": {"maxPollingInterval": "00:00:00.05"}}},
        {"version": "2.0", "extensions": {"queues": {"messageEncoding": "hex"}}},
        {"version": "2.0", "extensions": []},
        {"version": "2.0", "extensions": {"eventHubs": {"batchCheckpointFrequency": 0}}},
        {"version": "2.0", "extensions": {"eventHubs": {"minEventBatchSize": 101}}},
        {"version": "2.0", "telemetryMode": "StatsD"},
        {"version": "2.0", "telemetryMode": True},
        {"version": "1.0"},
        {},
    ],
)
def test_a_value_that_cannot_be_used_is_named(tmp_path: Path, document: Any) -> None:
    with pytest.raises(HostConfigInvalid, match=r"host\.json"):
        load(tmp_path, document)


def test_a_folder_without_host_json_is_no_app(tmp_path: Path) -> None:
    with pytest.raises(HostConfigInvalid, match="folder of the app"):
        load_host_config(tmp_path, {})
