"""The worker's process on the whole local run: what messages cost it with gRPC, threads, logs and all.

The host, the hub and storage are the working tree's, in processes of their own; the app is the tree's that is measured.
The flush never runs. Messages are those of the workload `single`, sent at once, so that batches are as large as
host.json allows.
"""

import json
from collections.abc import Iterable, Mapping
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from bench import workloads
from bench.path.settings import app_settings
from bench.path.tree import Tree
from dev.stack import LocalStack

PARTITIONS = 4
NEVER = "0 0 0 1 1 *"
_WARM_MESSAGES = 400


def worker_seconds(tree: Tree, messages: int) -> float:
    """Seconds of the worker's process, of the processor, for so many messages once it is warm."""
    settings = {name: app_settings("")[name] for name in ("DEVICE_MAPPING", "FHIR_MAPPING")}
    with (
        TemporaryDirectory() as folder,
        LocalStack(
            Path(folder), app_directory=tree.root, settings=settings | {"FLUSH_SCHEDULE": NEVER}, partitions=PARTITIONS
        ) as stack,
    ):
        _send(stack, _WARM_MESSAGES)
        worker = psutil.Process(stack.worker_pid)
        before = _seconds(worker)
        _send(stack, messages)
        return _seconds(worker) - before


def _send(stack: LocalStack, messages: int) -> None:
    stack.post_events(list(_events(islice(cycle(workloads.single()), messages))))
    stack.wait_until_read(timeout_seconds=240)


def _events(messages: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    for number, message in enumerate(messages):
        yield {"body": json.dumps(message), "partition": str(number % PARTITIONS)}


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
