"""What a worker takes until it has stored its first batch: the import of the app, then a batch of 500 messages.

The import is that of `function_app` in an interpreter that has nothing else, so Microsoft's package of triggers, which
a worker has loaded by then, is in it too. What the worker runtime itself imports is in neither figure.
"""

import json
import time
from pathlib import Path
from typing import Any

from bench import workloads
from bench.path.settings import app_settings, use

_MESSAGES = 500


def run(*, connection: str) -> dict[str, Any]:
    """Seconds of the processor. Once in a process."""
    use(app_settings(connection))
    started = time.process_time()
    import function_app  # noqa: F401 - its import is what is measured

    imported = time.process_time() - started
    from bench.path import worker

    app = worker.Worker(Path.cwd())
    app.start()
    bodies = [json.dumps(message).encode() for message in workloads.single()][:_MESSAGES]
    metadata = worker.batch_metadata(0, ["2024-02-29T10:00:00.123"] * len(bodies))
    message = worker.parsed(app.request("normalize", "events", worker.batch_value(bodies), metadata))
    started = time.process_time()
    app.invoke(message)
    return {"import_seconds": imported, "first_batch_seconds": time.process_time() - started}
