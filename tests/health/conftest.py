"""An onlooker over a real Azurite and a real FHIR server, each reached through a proxy."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.azurite import Wire
from tests.flush.samples import before
from tests.health.scene import Scene


@pytest.fixture
def scene(wire: Wire, fhir: str) -> Iterator[Scene]:
    with ExitStack() as opened:
        proxy, url = opened.enter_context(before(fhir))
        yield Scene(wire, proxy, url, opened)
