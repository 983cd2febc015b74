"""A create whose answer was not seen is carried out after all, over what was written since: nothing is lost by it."""

import pytest

from tests.faults import writes
from tests.flush.samples import MakeRun, before, known, measured
from tests.persist.samples import Server, points


@pytest.fixture(params=["hapi", "no-if-none-match", "strict"])
def fhir(request: pytest.FixtureRequest, fhir_profile) -> str:
    """Servers that ignore If-None-Match, and one that honours it."""
    return fhir_profile(request.param)


def test_a_series_keeps_what_was_written_since(make_run: MakeRun, server: Server, fhir: str) -> None:
    of = known(server)
    with before(fhir) as (proxy, url):
        run = make_run(url)
        late = proxy.late(when=writes)
        run.store([measured(of, 0, "60")])
        run.run()
        run.store([measured(of, 1, "61")])
        run.run()
        late.carry_out()
        run.run()
        [observation] = run.observations(of)
        assert points(observation) == {0: "60", 1: "61"}
