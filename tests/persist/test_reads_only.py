"""A client that may only read: what it sends, and that no write leaves it on any way."""

from collections.abc import Callable, Iterator

import pytest

from medtech.persist.answers import Interaction, Verdict
from medtech.persist.client import FhirClient, WriteWithheld
from medtech.settings import Settings
from tests.faults import FaultProxy, ProxiedRequest

BODY = b'{"resourceType":"Patient","id":"p"}'


@pytest.fixture
def client(proxied: str) -> Iterator[FhirClient]:
    with FhirClient(proxied, reads_only=True) as client:
        yield client


@pytest.fixture
def sent(proxy: FaultProxy) -> list[ProxiedRequest]:
    """What reaches the server, whatever it is."""
    requests: list[ProxiedRequest] = []
    proxy.before_forwarding(requests.append, times=None)
    return requests


def test_the_setting_makes_the_client_of_the_app_one_that_only_reads() -> None:
    for mode, reads_only in (("write", False), ("compare", True)):
        settings = Settings(fhir_service_url="http://127.0.0.1:1/R4", fhir_authentication="none", fhir_write=mode)
        with FhirClient.of(settings) as client:
            assert client.reads_only is reads_only


def test_reads_batches_of_reads_and_searches_are_sent(client: FhirClient) -> None:
    replies = client.exchange([Interaction("GET", "Patient/nobody"), Interaction("GET", "Device?identifier=nobody")])
    assert [reply.verdict for reply in replies] == [Verdict.ABSENT, Verdict.DONE]
    assert client.search("Observation", [{"identifier": "nobody"}]) == []


@pytest.mark.parametrize(
    "send",
    [
        lambda client: client.exchange([Interaction("PUT", "Patient/p", BODY, if_none_match=True)]),
        lambda client: client.exchange([Interaction("GET", "Patient/p"), Interaction("PUT", "Patient/p", BODY, "1")]),
        lambda client: client._single(Interaction("PUT", "Patient/p", BODY)),
        lambda client: client._single(Interaction("DELETE", "Patient/p")),
        lambda client: client._single(Interaction("POST", "Patient", BODY)),
        lambda client: client._send("PATCH", "Patient/p", content=b"[]"),
        lambda client: client._send("POST", "", content=b'{"entry":[{"request":{"method":"POST"}}]}'),
    ],
)
def test_a_write_is_not_sent_on_any_way(
    client: FhirClient, sent: list[ProxiedRequest], send: Callable[[FhirClient], object]
) -> None:
    client.capabilities()
    sent.clear()
    with pytest.raises(WriteWithheld):
        send(client)
    assert sent == []
