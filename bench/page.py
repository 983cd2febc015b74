"""What a message of 1 MiB costs on the debugger page: the answer, and the browser's longest tasks. `make page-bench`

Aims: an answer in under 1 s, and no task over 200 ms, on a machine that does nothing else.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from dev.browser import DRIVER, Browser
from dev.stack import LocalStack

SCENARIO = DRIVER.with_name("large_message.mjs")
_READINGS = 10_500


def main() -> int:
    reading = {"deviceId": "device-1", "endDate": "2026-03-02T08:00:00Z", "note": 24 * "x", "heartRate": 71}
    message = json.dumps({"readings": [reading] * _READINGS})
    with tempfile.TemporaryDirectory() as folder, LocalStack(Path(folder) / "stack") as stack:
        plan, report = Path(folder) / "plan.json", Path(folder) / "report.json"
        plan.write_text(json.dumps({"message": message, "report": str(report)}))
        os.environ["PAGE_BENCH"] = str(plan)
        with Browser(SCENARIO) as browser:
            faults = browser.play("measure", stack)
        for fault in faults:
            print(fault, file=sys.stderr)
        for run in [] if faults else json.loads(report.read_text()):
            longest = max(run["longTasksMs"], default=0)
            print(f"{len(message):,} bytes: answer in {run['answerMs']} ms, longest task {longest} ms")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
