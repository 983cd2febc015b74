"""Fixtures and settings that every test may use."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

# Workers that run side by side choose no port between another one's choice and the start of its server. Before
# anything of `dev` is imported; the commands that tests call inherit it.
if worker := os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw"):
    start = 20_000 + int(worker) % 8 * 1_500
    os.environ["LOCAL_PORTS"] = f"{start}-{start + 1_500}"

# Commands wrap what they print at this width: what a test looks for in it does not depend on who started the tests.
os.environ["COLUMNS"] = "200"

pytest_plugins = ["tests.azurite", "tests.accounts", "tests.fhir_server"]

# A busy machine is no fault of the code: no example of a property has a time limit of its own.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A worker sends its reports as UTF-8: half a surrogate pair, which tests do log, would end the whole run."""
    report = yield
    report.sections = [(name, text.encode(errors="replace").decode()) for name, text in report.sections]
    return report
