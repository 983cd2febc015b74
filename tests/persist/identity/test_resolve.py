"""The cache of identities, how it is confirmed, and what happens while the server is away."""

import json

import pytest

from medtech.errors import (
    DeviceNotFound,
    FhirServerUnavailable,
    PatientDeviceMismatch,
    PatientNotFound,
    ResourceRefused,
)
from medtech.model import ResourceIdentity
from medtech.settings import ResolutionType
from tests.faults import Answer, FaultProxy, Forward, ProxiedRequest, reads, writes
from tests.persist.identity.samples import CREATE, LOOKUP, add, add_device, key, resolve, resolver_at
from tests.persist.samples import Server, unique


def add_device_of(server: Server, patient: str) -> str:
    """The identifier of a new Device of that Patient."""
    name = unique("device")
    add_device(server, name, patient)
    return name


class TestCache:
    def test_known_identities_cost_no_request(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        name = unique("device")
        add_device(server, name, "p1")
        with resolver_at(proxied, LOOKUP) as resolver:
            first = resolver.resolve([key(name)], lambda: None)
            proxy.clear()
            second = resolver.resolve([key(name)], lambda: None)

        assert first == second
        assert proxy.requests == []

    def test_what_is_forgotten_is_looked_up_again(self, server: Server) -> None:
        name = unique("device")
        device = add_device(server, name, "p1")
        with resolver_at(server.url, LOOKUP) as resolver:
            resolver.resolve([key(name)], lambda: None)
            server.delete(f"Device/{device}")
            resolver.forget(key(name))
            assert isinstance(resolver.resolve([key(name)], lambda: None)[key(name)], DeviceNotFound)

    def test_errors_are_not_kept(self, server: Server) -> None:
        name = unique("device")
        with resolver_at(server.url, LOOKUP) as resolver:
            resolver.resolve([key(name)], lambda: None)
            device = add_device(server, name, "p1")
            assert resolver.resolve([key(name)], lambda: None) == {key(name): ResourceIdentity(device, "p1", None)}


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TestStaleLinks:
    """Cached links of more than 60 s ago, before they are written by."""

    def test_a_hundred_are_confirmed_by_one_request(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        keys = [key(add_device_of(server, unique("p"))) for _ in range(150)]
        clock = Clock()
        with resolver_at(proxied, LOOKUP, clock=clock) as resolver:
            first = resolver.resolve(keys, lambda: None)
            clock.now += 60
            proxy.clear()
            assert resolver.resolve(keys, lambda: None) == first
            assert sorted(request.bundle_methods for request in proxy.requests) == [["GET"] * 50, ["GET"] * 100]

            proxy.clear()
            assert resolver.resolve(keys, lambda: None) == first
            assert proxy.requests == []

    @pytest.mark.parametrize("mode", [LOOKUP, CREATE])
    def test_a_device_of_the_next_patient(self, server: Server, mode: ResolutionType) -> None:
        name = unique("device")
        last, following = add(server, "Patient", unique("patient")), add(server, "Patient", unique("patient"))
        device = add_device(server, name, last)
        clock = Clock()
        with resolver_at(server.url, mode, clock=clock) as resolver:
            assert resolver.resolve([key(name)], lambda: None) == {key(name): ResourceIdentity(device, last, None)}
            server.put(server.get(f"Device/{device}") | {"patient": {"reference": f"Patient/{following}"}})
            clock.now += 60

            found = resolver.resolve([key(name)], lambda: None)

        assert found == {key(name): ResourceIdentity(device, following, None)}

    def test_a_device_of_the_next_patient_whose_messages_name_the_last(self, server: Server) -> None:
        name, patient_name = unique("device"), unique("patient")
        following = add(server, "Patient", unique("patient"))
        device = add_device(server, name, add(server, "Patient", patient_name))
        clock = Clock()
        with resolver_at(server.url, CREATE, clock=clock) as resolver:
            resolver.resolve([key(name, patient_name)], lambda: None)
            server.put(server.get(f"Device/{device}") | {"patient": {"reference": f"Patient/{following}"}})
            clock.now += 60

            found = resolver.resolve([key(name, patient_name)], lambda: None)

        assert isinstance(found[key(name, patient_name)], PatientDeviceMismatch)

    @pytest.mark.parametrize("gone", ["Device", "identifier", "link"])
    def test_what_a_link_was_made_of_is_gone(self, server: Server, gone: str) -> None:
        name = unique("device")
        device = add_device(server, name, add(server, "Patient", unique("patient")))
        clock = Clock()
        with resolver_at(server.url, LOOKUP, clock=clock) as resolver:
            resolver.resolve([key(name)], lambda: None)
            if gone == "Device":
                server.delete(f"Device/{device}")
            elif gone == "identifier":
                server.put(server.get(f"Device/{device}") | {"identifier": [{"value": unique("other")}]})
            else:
                stored = server.get(f"Device/{device}")
                del stored["patient"]
                server.put(stored)
            clock.now += 60

            found = resolver.resolve([key(name)], lambda: None)[key(name)]

        assert isinstance(found, PatientNotFound if gone == "link" else DeviceNotFound)

    def test_while_the_server_is_away_nothing_is_written_by_them(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        name = unique("device")
        add_device(server, name, "p1")
        clock = Clock()
        with resolver_at(proxied, LOOKUP, clock=clock) as resolver:
            resolver.resolve([key(name)], lambda: None)
            clock.now += 60
            proxy.answer(503, when=reads, times=None)
            with pytest.raises(FhirServerUnavailable):
                resolver.resolve([key(name)], lambda: None)


class TestOutages:
    def test_a_search_that_fails_is_asked_again(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        name = unique("device")
        device = add_device(server, name, "p1")
        proxy.answer(503, when=reads)
        with resolver_at(proxied, LOOKUP) as resolver:
            assert resolver.resolve([key(name)], lambda: None) == {key(name): ResourceIdentity(device, "p1", None)}

    def test_a_server_that_stays_away_is_raised(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.answer(503, times=None)
        with resolver_at(proxied, LOOKUP) as resolver, pytest.raises(FhirServerUnavailable):
            resolver.resolve([key(unique("device"))], lambda: None)

    def test_searches_answered_in_another_order(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        names = [unique("device") for _ in range(3)]
        devices = [add_device(server, name, "p1") for name in names]
        proxy.rewrite(lambda answer: answer | {"entry": answer["entry"][::-1]}, when=reads)

        found = resolve(proxied, LOOKUP, *(key(name) for name in names))

        assert found == [ResourceIdentity(device, "p1", None) for device in devices]

    def test_a_refusal_keeps_the_servers_reason(self, proxy: FaultProxy, proxied: str) -> None:
        outcome = b'{"resourceType": "OperationOutcome", "issue": [{"diagnostics": "no such index"}]}'
        proxy.answer(422, outcome, when=writes, times=None)

        (error,) = resolve(proxied, CREATE, key(unique("device"), unique("patient")))

        assert isinstance(error, ResourceRefused)
        assert "no such index" in (error.outcome or "")
        assert "no such index" not in error.message
        assert "replay" in error.message

    def test_one_search_that_never_succeeds_does_not_stop_its_neighbours(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        names = [unique("device") for _ in range(2)]
        device = add_device(server, names[0], "p1")

        def fail(request: ProxiedRequest, forward: Forward) -> Answer:
            """The search for the second name always ends in 500."""
            if not request.bundle_methods:
                return Answer(500, [], b"") if names[1].encode() in request.body else forward()
            searches = [each["request"]["url"] for each in json.loads(request.body)["entry"]]
            answer = json.loads(forward().body)
            for index, search in enumerate(searches):
                if names[1] in search:
                    answer["entry"][index] = {"response": {"status": "500 Internal Server Error"}}
            return Answer(200, [], json.dumps(answer).encode())

        proxy.rule(fail, when=reads, times=None)

        first, second = resolve(proxied, LOOKUP, *(key(name) for name in names))

        assert first == ResourceIdentity(device, "p1", None)
        assert isinstance(second, FhirServerUnavailable)
