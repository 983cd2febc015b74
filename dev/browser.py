"""A headless Chromium in a process of its own, which plays scenarios on a page of the app; see dev/page/drive.mjs."""

import json
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dev.running_host import RunningHost

DRIVER = Path(__file__).parent / "page" / "drive.mjs"


class Browser:
    """Plays what a module of scenarios exports; each has a page, storage and cookies of its own."""

    def __init__(self, scenarios: Path) -> None:
        node = shutil.which("node")
        assert node is not None, "Node.js was not found"
        assert (DRIVER.parent / "node_modules" / "playwright-core").exists(), (
            "`make page-test` installs what drives the browser"
        )
        self._process = subprocess.Popen(
            [node, str(DRIVER), str(scenarios)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)

    def play(self, scenario: str, stack: RunningHost) -> list[str]:
        """The faults of a scenario: what it did not find, and what the browser complained of. A good page has none."""
        site = {
            "url": f"{stack.host_url}/api/debugger",
            "functionKey": stack.function_key,
            "adminKey": stack.master_key,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"scenario": scenario, **site}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the browser's process has ended"
        answer: dict[str, Any] = json.loads(line)
        faults: list[str] = answer["faults"]
        return faults
