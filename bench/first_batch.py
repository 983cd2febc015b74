"""The child of `bench.start`: imports `function_app`, puts batches through, and prints what that took as JSON.

Nothing else is imported before `function_app`, since it would be loaded already.
"""

import json
import sys
import time
from types import SimpleNamespace
from typing import Any, NamedTuple


class Start(NamedTuple):
    """CPU milliseconds, and modules that were loaded meanwhile."""

    import_ms: float
    import_modules: int
    batch_ms: float
    batch_modules: int
    later_ms: float


def settings(connection_string: str) -> dict[str, str]:
    """The app settings of the child; the storage is at `connection_string`."""
    return {
        "AzureWebJobsStorage": connection_string,
        "EventHubConnection": "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey=b",
        "EVENT_HUB_NAME": "devicedata",
        "FHIR_SERVICE_URL": "http://127.0.0.1/fhir",
        "FHIR_AUTHENTICATION": "none",
        "DEVICE_MAPPING": "bench/single.device.json",
    }


def start() -> Start:
    started, modules = time.process_time(), len(sys.modules)
    import function_app

    imported, imported_modules = time.process_time(), len(sys.modules)
    # What makes the batch is the worker's, and is loaded by then.
    import azure.functions as func

    from bench import workloads
    from tests.ingest.delivery import Sent, datums

    converter: Any = func.get_binding_registry().get("eventHubTrigger")  # type: ignore[no-untyped-call]
    bodies = [json.dumps(message).encode() for message in workloads.single()]
    context: Any = SimpleNamespace(retry_context=None, trace_context=SimpleNamespace(trace_parent=None))

    def batch_ms(first: int) -> float:
        sent = [Sent(body, first + n, f"2024-02-29T10:00:{n % 60:02d}.123") for n, body in enumerate(bodies[:500])]
        data, metadata = datums(sent)
        began = time.process_time()
        function_app.application.ingest(converter.decode(data, trigger_metadata=metadata), context)
        return (time.process_time() - began) * 1000

    before = len(sys.modules)
    first_ms = batch_ms(0)
    return Start(
        (imported - started) * 1000,
        imported_modules - modules,
        first_ms,
        len(sys.modules) - before,
        min(batch_ms(500 * (n + 1)) for n in range(5)),
    )


if __name__ == "__main__":
    print(json.dumps(start()))
