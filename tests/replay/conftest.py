"""Fixtures of the tests of replay: those of the flush, and a ward over them."""

import pytest

from tests.flush.conftest import make_run, run, server  # noqa: F401 - fixtures
from tests.flush.samples import Run
from tests.replay.samples import Ward


@pytest.fixture
def ward(run: Run) -> Ward:  # noqa: F811 - the fixture
    return Ward(run)
