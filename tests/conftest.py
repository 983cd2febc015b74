"""Fixtures and settings that every test may use."""

import gc
import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

# Commands wrap what they print at this width: what a test looks for in it does not depend on who started the tests.
os.environ["COLUMNS"] = "200"

pytest_plugins = ["tests.azurite", "tests.accounts", "tests.fhir_server"]

# A busy machine is no fault of the code: no example of a property has a time limit of its own.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open() -> Iterator[None]:
    """A file or connection that tests left to the collector fails them, not whichever test it happens to run in."""
    yield
    gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A worker sends its reports as UTF-8: half a surrogate pair, which tests do log, would end the whole run."""
    report = yield
    report.sections = [(name, text.encode(errors="replace").decode()) for name, text in report.sections]
    return report
