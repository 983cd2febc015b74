"""A 400, 413 or 422 to reads, and a page that is not FHIR, are outages: nothing becomes a dead letter by them.

Whoever gave that answer, a gateway or the server, on each path: searches for identities, reads by id, histories, pages.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from medtech.errors import FhirServerUnavailable, ResourceRefused
from medtech.model import ResourceIdentity
from medtech.persist.answers import Interaction, Verdict
from medtech.persist.client import FhirClient
from medtech.persist.observations import Waiting
from medtech.persist.settle import SavedAs
from tests.faults import Answer, FaultProxy, Forward, ProxiedRequest, reads, writes
from tests.persist.identity.samples import CREATE, LOOKUP, add, add_device, key, resolver_at
from tests.persist.samples import (
    Server,
    error_of,
    identity,
    points,
    resource_id,
    saved_as,
    series,
    unique,
    write_all,
    writer_at,
)

OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"}]}
PAGES = {
    "HTML": b"<html><body>Request rejected.</body></html>",
    "OperationOutcome": json.dumps(OUTCOME).encode(),
    "empty": b"",
}
Reads = Callable[[ProxiedRequest], bool]


def reads_of(what: str) -> Reads:
    """Picks requests that read such resources: `Device?`, `Patient/`, `/_history`, in a batch or alone."""
    alone = what.replace("?", "/_search")
    return lambda request: reads(request) and (what.encode() in request.body or alone in request.path)


def entries_answered(status: int, what: str) -> Callable[[ProxiedRequest, Forward], Answer]:
    """A batch whose entries for `what` are answered with that status, and so is what is sent alone."""

    def act(request: ProxiedRequest, forward: Forward) -> Answer:
        if not request.bundle_methods:
            return Answer(status, [], PAGES["OperationOutcome"])
        answer = json.loads(forward().body)
        for index, each in enumerate(json.loads(request.body)["entry"]):
            if what in each["request"]["url"]:
                answer["entry"][index] = {"response": {"status": str(status), "outcome": OUTCOME}}
        return Answer(200, [], json.dumps(answer).encode())

    return act


def entries_hold(resource: dict[str, Any] | None, what: str) -> Callable[[ProxiedRequest, Forward], Answer]:
    """A batch whose entries for `what` are answered 200 with something that was not asked for."""

    def act(request: ProxiedRequest, forward: Forward) -> Answer:
        answer = json.loads(forward().body)
        for index, each in enumerate(json.loads(request.body)["entry"]):
            if what in each["request"]["url"]:
                answer["entry"][index] = {"response": {"status": "200"}} | ({"resource": resource} if resource else {})
        return Answer(200, [], json.dumps(answer).encode())

    return act


def faults(what: str) -> list[Any]:
    """Rules for a proxy, as parameters: each answers what reads `what` in a way that says nothing about it."""
    envelopes = [
        pytest.param(lambda proxy, s=s, b=b: proxy.answer(s, b, when=reads_of(what), times=None), id=f"{s} {name}")
        for s in (400, 413, 422)
        for name, b in PAGES.items()
    ]
    entries = [
        pytest.param(
            lambda proxy, s=s: proxy.rule(entries_answered(s, what), when=reads_of(what), times=None), id=f"entry {s}"
        )
        for s in (400, 413, 422)
    ]
    foreign = [
        pytest.param(
            lambda proxy, r=r: proxy.rule(entries_hold(r, what), when=reads_of(what), times=None),
            id=f"entry 200 {name}",
        )
        for name, r in (("OperationOutcome", OUTCOME), ("nothing", None))
    ]
    return [*envelopes, *entries, *foreign]


Fault = Callable[[FaultProxy], None]


class TestIdentities:
    def _unavailable(self, url: str, mode: Any, device: str, patient: str | None = None) -> bool:
        """Whether the resolution ends with the data staying where it is."""
        with resolver_at(url, mode) as resolver:
            try:
                found = resolver.resolve([key(device, patient)], lambda: None)[key(device, patient)]
            except FhirServerUnavailable:
                return True
        return isinstance(found, FhirServerUnavailable)

    @pytest.mark.parametrize("fault", faults("Device?"))
    def test_searches(self, server: Server, proxy: FaultProxy, proxied: str, fault: Fault) -> None:
        name = unique("device")
        add_device(server, name, "p1")
        fault(proxy)
        assert self._unavailable(proxied, LOOKUP, name)

    @pytest.mark.parametrize("fault", faults("Patient?"))
    def test_searches_of_create_mode_create_nothing(self, proxy: FaultProxy, proxied: str, fault: Fault) -> None:
        fault(proxy)
        assert self._unavailable(proxied, CREATE, unique("device"), unique("patient"))
        assert not [request for request in proxy.requests if writes(request)]

    @pytest.mark.parametrize("fault", faults("Patient/"))
    def test_reads_by_id(self, server: Server, proxy: FaultProxy, proxied: str, fault: Fault) -> None:
        name = unique("device")
        add_device(server, name, add(server, "Patient", unique("patient")))
        fault(proxy)
        assert self._unavailable(proxied, LOOKUP, name)

    def test_a_bundle_of_reads_that_is_gone_makes_no_patient_missing(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        name = unique("device")
        add_device(server, name, add(server, "Patient", unique("patient")))
        proxy.answer(410, PAGES["HTML"], when=reads_of("Patient/"), times=None)
        assert self._unavailable(proxied, LOOKUP, name)

    @pytest.mark.parametrize("status", [400, 413])
    def test_a_link_is_not_confirmed_by_them(
        self, server: Server, proxy: FaultProxy, proxied: str, status: int
    ) -> None:
        name = unique("device")
        last, following = (add(server, "Patient", unique("patient")) for _ in range(2))
        device = add_device(server, name, last)
        now = 0.0
        with resolver_at(proxied, LOOKUP, clock=lambda: now) as resolver:
            resolver.resolve([key(name)], lambda: None)
            server.put(server.get(f"Device/{device}") | {"patient": {"reference": f"Patient/{following}"}})
            now = 60.0
            proxy.rule(entries_answered(status, "Device/"), when=reads_of("Device/"), times=None)
            found = resolver.resolve([key(name)], lambda: None)
        assert found == {key(name): ResourceIdentity(device, following, None)}

    def test_a_page_that_is_not_a_bundle(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        """The second page of a search holds the Device; a gateway's JSON stands in its place."""
        name = unique("device")
        add_device(server, name, "p1")

        def second_page(answer: Any) -> Any:
            found = answer["entry"][0]["resource"]
            found["entry"], found["link"] = [], [{"relation": "next", "url": f"{proxied}/Device?identifier={name}"}]
            return answer

        proxy.rewrite(second_page, when=reads_of("Device?"))
        proxy.answer(
            200, b'{"resourceType": "Basic"}', when=lambda request: request.path.endswith("Device/_search"), times=None
        )
        assert self._unavailable(proxied, LOOKUP, name)


class TestObservations:
    @pytest.mark.parametrize("fault", faults("Observation/"))
    def test_reads_by_id(self, server: Server, proxy: FaultProxy, proxied: str, fault: Fault) -> None:
        fault(proxy)
        (outcome,) = write_all(proxied, series(identity(), {0: 60}))
        assert isinstance(error_of(outcome), FhirServerUnavailable)
        assert not [request for request in proxy.requests if writes(request)]

    @pytest.mark.parametrize("fault", faults("/_history"))
    def test_histories(self, server: Server, proxy: FaultProxy, proxied: str, fault: Fault) -> None:
        of = identity()
        write_all(server.url, series(of, {0: 60}))
        fault(proxy)
        (outcome,) = write_all(proxied, series(of, {1: 61}, check_history=True))
        assert isinstance(error_of(outcome), FhirServerUnavailable)
        assert not [request for request in proxy.requests if writes(request)]

    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_they_go_on_when_the_gateway_does(
        self, server: Server, proxy: FaultProxy, proxied: str, status: int
    ) -> None:
        proxy.answer(status, PAGES["HTML"], when=reads)
        waits: list[float] = []
        (outcome,) = write_all(proxied, series(identity(), {0: 60}), pause=waits.append)
        assert saved_as(outcome) is SavedAs.CREATED
        assert len(waits) == 1

    def test_the_waits_grow(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.answer(400, PAGES["OperationOutcome"], when=reads, times=None)
        waits: list[float] = []
        write_all(proxied, series(identity(), {0: 60}), pause=waits.append)
        assert len(waits) == 5
        # With jitter each is between half its full length and that; the full length doubles.
        assert waits[4] > waits[0] * 4

    @pytest.mark.parametrize("no_batch", [False, True])
    @pytest.mark.parametrize("status", [400, 413, 422])
    @pytest.mark.parametrize("page", PAGES)
    def test_on_every_server(self, fhir_profile: Callable[[str], str], no_batch: bool, status: int, page: str) -> None:
        server = Server(fhir_profile("no-batch" if no_batch else "strict"))
        with FaultProxy(server.url.removesuffix("/fhir/R4")) as proxy:
            proxy.answer(status, PAGES[page], when=reads, times=None)
            (outcome,) = write_all(f"{proxy.url}/fhir/R4", series(identity(), {0: 60}))
        server.close()
        assert isinstance(error_of(outcome), FhirServerUnavailable)


class TestHalving:
    @pytest.mark.parametrize("page", PAGES)
    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_one_read_that_is_refused_does_not_stop_its_neighbours(
        self, server: Server, proxy: FaultProxy, proxied: str, status: int, page: str
    ) -> None:
        proxy.answer(status, PAGES[page], when=reads_of("Patient/poison"), times=None)
        ids = [*(f"good-{n}" for n in range(6)), "poison", "good-6"]
        with FhirClient(proxied) as client:
            replies = client.exchange([Interaction("GET", f"Patient/{each}") for each in ids])
        assert [reply.interaction.url for reply in replies] == [f"Patient/{each}" for each in ids]
        absent, unknown = Verdict.ABSENT, Verdict.UNKNOWN
        assert [reply.verdict for reply in replies] == [*[absent] * 6, unknown, absent]

    def test_a_gateway_that_refuses_everything_is_not_asked_for_each(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.answer(413, PAGES["HTML"], when=reads, times=None)
        with FhirClient(proxied) as client:
            replies = client.exchange([Interaction("GET", f"Patient/{n}") for n in range(100)])
        assert [reply.interaction.url for reply in replies] == [f"Patient/{n}" for n in range(100)]
        assert all(reply.verdict is Verdict.UNKNOWN and reply.away for reply in replies)
        assert len([request for request in proxy.requests if reads(request)]) < 20


class TestWrites:
    """The read before each write is answered by the server itself."""

    @pytest.mark.parametrize("page", ["empty", "OperationOutcome"])
    @pytest.mark.parametrize("status", [200, 201, 204])
    def test_of_a_server_without_batch_a_success_without_a_version_is_none(
        self, fhir_profile: Callable[[str], str], status: int, page: str
    ) -> None:
        """What says nothing of what is stored may come from a gateway, and the readings would be lost."""
        server, of = Server(fhir_profile("no-batch")), identity()
        write_all(server.url, series(of, {0: 60}))
        with FaultProxy(server.url.removesuffix("/fhir/R4")) as proxy:
            proxy.answer(status, PAGES[page], when=writes)
            waits: list[float] = []
            (outcome,) = write_all(f"{proxy.url}/fhir/R4", series(of, {1: 61}), pause=waits.append)
        assert saved_as(outcome) is SavedAs.UPDATED
        assert points(server.observation(outcome.write)) == {0: "60", 1: "61"}
        assert len(waits) == 1
        server.close()

    @pytest.mark.parametrize("status", [400, 413, 422])
    @pytest.mark.parametrize("page", ["HTML", "empty"])
    def test_a_gateways_answer_is_not_a_refusal(
        self, server: Server, proxy: FaultProxy, proxied: str, status: int, page: str
    ) -> None:
        observations = [series(identity(), {0: n}) for n in range(5)]
        unwanted = resource_id(observations[3])
        blocks(proxy, unwanted, status, PAGES[page])

        outcomes = write_all(proxied, *observations)

        stuck = outcomes.pop(3)
        assert [saved_as(outcome) for outcome in outcomes] == [SavedAs.CREATED] * 4
        assert isinstance(error_of(stuck), FhirServerUnavailable)
        assert isinstance(stuck, Waiting)
        assert not stuck.server_away

    def test_alone_it_does_not_end_the_flush(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        """Otherwise the oldest window, with nothing else in it, would hold up all later ones for good."""
        stuck, good = series(identity(), {0: 60}), series(identity(), {0: 60})
        blocks(proxy, resource_id(stuck), 400, PAGES["HTML"])
        with writer_at(proxied) as writer:
            (first,) = writer.write([stuck], lambda creates: None)
            (second,) = writer.write([good], lambda creates: None)
        assert isinstance(first, Waiting)
        assert not first.server_away
        assert saved_as(second) is SavedAs.CREATED

    @pytest.mark.parametrize("profile", ["strict", "no-batch"])
    @pytest.mark.parametrize("page", PAGES)
    @pytest.mark.parametrize("order", [[0, 1], [1, 0]])
    def test_too_large_where_a_smaller_one_is_taken(
        self, fhir_profile: Callable[[str], str], profile: str, page: str, order: list[int]
    ) -> None:
        small = series(identity(), {0: 60})
        large = series(identity(), dict.fromkeys(range(60), 60))
        server = Server(fhir_profile(profile))
        with FaultProxy(server.url.removesuffix("/fhir/R4")) as proxy:
            blocks(proxy, resource_id(large), 413, PAGES[page])
            outcomes = write_all(f"{proxy.url}/fhir/R4", *([small, large][each] for each in order))
        taken, refused = (outcomes[order.index(each)] for each in (0, 1))

        assert saved_as(taken) is SavedAs.CREATED
        assert points(server.observation(small)) == {0: "60"}
        assert isinstance(error_of(refused), ResourceRefused)
        server.close()

    def test_too_large_after_a_smaller_one_of_an_earlier_window(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        small = series(identity(), {0: 60})
        large = series(identity(), dict.fromkeys(range(60), 60))
        blocks(proxy, resource_id(large), 413, PAGES["HTML"])
        with writer_at(proxied) as writer:
            (taken,) = writer.write([small], lambda creates: None)
            (refused,) = writer.write([large], lambda creates: None)
        assert saved_as(taken) is SavedAs.CREATED
        assert isinstance(error_of(refused), ResourceRefused)

    @pytest.mark.parametrize("page", ["HTML", "empty"])
    def test_a_413_after_a_larger_one_only(self, server: Server, proxy: FaultProxy, proxied: str, page: str) -> None:
        small = series(identity(), {0: 60})
        large = series(identity(), dict.fromkeys(range(60), 60))
        blocks(proxy, resource_id(small), 413, PAGES[page])
        kept, taken = write_all(proxied, small, large)
        assert saved_as(taken) is SavedAs.CREATED
        assert isinstance(error_of(kept), FhirServerUnavailable)


def blocks(proxy: FaultProxy, resource_id: str, status: int, page: bytes) -> None:
    """What writes this resource never gets past the proxy."""

    def is_blocked(request: ProxiedRequest) -> bool:
        return writes(request) and (resource_id.encode() in request.body or request.path.endswith(resource_id))

    proxy.answer(status, page, when=is_blocked, times=None)
