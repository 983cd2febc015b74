"""A running app, and a browser that looks at its page."""

from collections.abc import Iterator

import pytest

from dev.browser import Browser
from dev.stack import LocalStack
from tests.debugger.test_page import SCENARIOS
from tests.end_to_end.ward import QUIET, Ward


@pytest.fixture(scope="session")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """An app whose mappings have come into force, since they were looked at, and which has a dead letter."""
    with LocalStack(tmp_path_factory.mktemp("debugged"), settings=QUIET) as stack, Ward(stack) as ward:
        ward.deliver([{"deviceId": "debugged-1", "endDate": "no time at all", "heartRate": 71}])
        headers = {"x-functions-key": stack.function_key}
        stack.call("POST", "/api/validate", json={}, headers=headers).raise_for_status()
        yield ward


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with Browser(SCENARIOS) as browser:
        yield browser
