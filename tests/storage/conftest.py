"""Every test of tables runs on both ways to ask for them."""

import pytest


@pytest.fixture(params=[False, True], ids=["direct", "library"])
def through_library(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
