"""`make screenshots`: the pictures of the debugger page in docs/, from the running page."""

import sys
import tempfile
from pathlib import Path

from dev.browser import DRIVER, Browser
from dev.stack import LocalStack

SCENARIOS = DRIVER.with_name("screenshots.mjs")
PICTURES = ("overview", "findings", "trace", "dark")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, LocalStack(Path(folder)) as stack, Browser(SCENARIOS) as browser:
        faults = [fault for picture in PICTURES for fault in browser.play(picture, stack)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
