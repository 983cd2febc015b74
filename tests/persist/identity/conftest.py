"""The identity tests run on a server that takes searches in batches, and on those that refuse them."""

from collections.abc import Callable

import pytest


@pytest.fixture(scope="session", params=["strict", "no-search-in-batch", "no-search-in-batch-501"])
def fhir(request: pytest.FixtureRequest, fhir_profile: Callable[[str], str]) -> str:
    """Base URL of the server; `server`, `proxy` and `proxied` stand for it too."""
    return fhir_profile(request.param)
