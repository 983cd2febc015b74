"""Fixtures of the tests of backfill: those of the flush, and a captured ward over them."""

import pytest

from tests.backfill.samples import CapturedWard
from tests.flush.conftest import make_run, run, server  # noqa: F401 - fixtures
from tests.flush.samples import Run
from tests.replay.samples import Ward


@pytest.fixture
def captured(run: Run) -> CapturedWard:  # noqa: F811 - the fixture
    return CapturedWard(Ward(run))
