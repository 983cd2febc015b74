"""The HTTP client itself: addresses, tokens, headers, paging, what a bundle may hold, and what is logged."""

import json
import logging
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from medtech.deadline import Deadline, within
from medtech.errors import FhirAccessDenied, FhirServerUnavailable, OutOfTime, SettingInvalid
from medtech.persist import client as client_module
from medtech.persist import client_credentials
from medtech.persist.answers import (
    MAX_OUTCOME_CHARACTERS,
    Interaction,
    Reply,
    Verdict,
    has_predecessor,
    match_entries,
    outcome_text,
    replies_to_done,
    replies_to_reads,
    retry_after_seconds,
    version_from,
)
from medtech.persist.client import SHORTEST_SECONDS, FhirClient, matches
from medtech.persist.credentials import EntraCredentials, credentials_of
from medtech.persist.patience import Patience
from medtech.persist.settle import SavedAs
from medtech.settings import Settings
from medtech.transform.fhir_json import parse_resource
from tests.faults import Answer, FaultProxy, Forward, ProxiedRequest, reads, writes
from tests.oauth2_endpoint import OAuth2Endpoint, TokenAnswer
from tests.persist.samples import Server, error_of, identity, resource_id, saved_as, series, unique, write_all

BASIC = {"fhir_authentication": "basic", "fhir_username": "app", "fhir_password": "SECRET"}
CLIENT = {
    "fhir_authentication": "client_credentials",
    "fhir_token_url": "https://login.example.org/token",
    "fhir_client_id": "app",
    "fhir_client_secret": "SECRET",
}


def patience() -> Patience:
    return Patience(pause=lambda seconds: None)


class TestAddress:
    @pytest.mark.parametrize(
        "url", ["", "fhir.example.org", "ftp://fhir.example.org", "https://", "https://h/fhir?x=1", "https://[::1"]
    )
    def test_what_is_not_an_address(self, url: str) -> None:
        with pytest.raises(SettingInvalid, match="FHIR_SERVICE_URL"):
            FhirClient(url)

    @pytest.mark.parametrize("url", ["http://fhir.example.org/r4", "http://10.0.0.4:8080/fhir"])
    def test_plain_http_only_to_this_machine(self, url: str) -> None:
        with pytest.raises(SettingInvalid, match="plain http"):
            FhirClient(url)

    def test_plain_http_to_another_machine_can_be_allowed_and_is_said_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = Settings(
            fhir_service_url="http://fhir-1.example.org/r4", fhir_authentication="none", fhir_allow_plain_http=True
        )
        for _ in range(2):
            FhirClient.of(settings).close()
        [record] = [record for record in caplog.records if "unencrypted" in record.getMessage()]
        assert record.levelname == "WARNING"
        assert "http://fhir-1.example.org" in record.getMessage()

    @pytest.mark.parametrize("chosen", [{}, BASIC, CLIENT])
    def test_no_credentials_go_by_plain_http_to_another_machine(
        self, chosen: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = Settings(fhir_service_url="https://fhir-2.example.org/r4", **chosen)
        credentials = credentials_of(settings, "", on_this_machine=False, credential=None)
        with pytest.raises(SettingInvalid, match="FHIR_AUTHENTICATION to none"):
            FhirClient("http://fhir-2.example.org/r4", credentials=credentials, allow_plain_http=True)
        assert not caplog.records

    def test_an_address_that_holds_a_password_is_refused_without_it(self) -> None:
        with pytest.raises(SettingInvalid, match="FHIR_USERNAME") as caught:
            FhirClient("https://user:SECRET@fhir.example.org/r4")
        assert "SECRET" not in caught.value.message

    @pytest.mark.parametrize("slash", ["", "/"])
    def test_with_and_without_trailing_slash(self, server: Server, slash: str) -> None:
        assert error_of(write_all(server.url + slash, series(identity(), {0: 60}))[0]) is None

    def test_a_wrong_base_address(self, proxy: FaultProxy) -> None:
        (outcome,) = write_all(f"{proxy.url}/elsewhere", series(identity(), {0: 60}))
        assert isinstance(error_of(outcome), FhirAccessDenied)
        assert "FHIR_SERVICE_URL" in error_of(outcome).message

    def test_nobody_listens(self, free_port: int) -> None:
        (outcome,) = write_all(f"http://127.0.0.1:{free_port}/fhir", series(identity(), {0: 60}))
        assert isinstance(error_of(outcome), FhirServerUnavailable)


@pytest.fixture
def free_port() -> int:
    from tests.azurite import free_ports

    return free_ports(1)[0]


class FakeIssuer:
    """Stands in for the token service, which cannot be run here."""

    def __init__(self, *answers: float | Exception) -> None:
        self._answers = list(answers)
        self.scopes: list[str] = []

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.scopes += scopes
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return AccessToken(f"token {len(self.scopes)}", int(time.time() + answer))

    def close(self) -> None:
        pass


def issued_by(issuer: FakeIssuer, audience: str = "https://fhir.example.org") -> EntraCredentials:
    return EntraCredentials(audience, lambda: issuer)


class TestToken:
    def test_it_is_kept_while_it_lasts(self) -> None:
        issuer = FakeIssuer(3600)
        credentials = issued_by(issuer, "https://fhir.example.org/")
        assert [credentials.authorization(), credentials.authorization()] == ["Bearer token 1"] * 2
        assert issuer.scopes == ["https://fhir.example.org/.default"]

    def test_it_is_refreshed_before_it_expires(self) -> None:
        credentials = issued_by(FakeIssuer(120, 3600))
        assert [credentials.authorization(), credentials.authorization()] == ["Bearer token 1", "Bearer token 2"]

    def test_threads_share_one(self) -> None:
        issuer = FakeIssuer(3600)
        credentials = issued_by(issuer)
        threads = [threading.Thread(target=credentials.authorization) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(issuer.scopes) == 1

    def test_no_identity_is_a_setup_error(self) -> None:
        with pytest.raises(FhirAccessDenied, match="FHIR_AUDIENCE"):
            issued_by(FakeIssuer(ClientAuthenticationError("secret"))).authorization()

    def test_a_token_service_that_is_away(self) -> None:
        with pytest.raises(FhirServerUnavailable):
            issued_by(FakeIssuer(ServiceRequestError("secret"))).authorization()

    def test_the_audience_is_the_origin_unless_said(self) -> None:
        for audience, scope in (("", "https://fhir.example.org/.default"), ("https://a", "https://a/.default")):
            settings = Settings(fhir_service_url="https://fhir.example.org/r4/", fhir_audience=audience)
            with FhirClient.of(settings) as client:
                assert isinstance(client.credentials, EntraCredentials)
                assert client.credentials.scope == scope

    @pytest.mark.parametrize("chosen", ["entra", "none"])
    def test_there_is_none_over_plain_http_to_this_machine(self, proxy: FaultProxy, proxied: str, chosen: str) -> None:
        settings = Settings(fhir_service_url=proxied, fhir_authentication=chosen)
        with FhirClient.of(settings) as client:
            client.exchange([Interaction("GET", "Patient/nobody")])
        assert len(proxy.requests) == 2
        assert all("Authorization" not in request.headers for request in proxy.requests)

    def test_it_is_sent_with_every_request(self, proxy: FaultProxy, proxied: str) -> None:
        with FhirClient(proxied, credentials=issued_by(FakeIssuer(3600))) as client:
            client.exchange([Interaction("GET", "Patient/nobody")])
        assert [request.headers["Authorization"] for request in proxy.requests] == ["Bearer token 1"] * 2


class TestBasic:
    def test_user_and_password_are_sent_with_every_request(self, proxy: FaultProxy, proxied: str) -> None:
        settings = Settings(
            fhir_service_url=proxied, fhir_authentication="basic", fhir_username="Jürgen", fhir_password="p:ä ß"
        )
        with FhirClient.of(settings) as client:
            client.exchange([Interaction("GET", "Patient/nobody")])
        expected = f"Basic {b64encode('Jürgen:p:ä ß'.encode()).decode()}"
        assert [request.headers["Authorization"] for request in proxy.requests] == [expected] * 2

    def test_a_wrong_password_is_a_setup_error_and_not_sent_again(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.guard(lambda authorization: False)
        with (
            FhirClient.of(Settings(fhir_service_url=proxied, **BASIC)) as client,
            pytest.raises(FhirAccessDenied, match="FHIR_USERNAME and FHIR_PASSWORD") as caught,
        ):
            client.read([Interaction("GET", "Patient/nobody")], patience())
        assert "SECRET" not in caught.value.message
        assert len(proxy.requests) == 1


class TestRefusedTokens:
    """A server that no longer takes a token, which the token endpoint has revoked or whose key has changed."""

    @pytest.fixture
    def endpoint(self, proxy: FaultProxy) -> Iterator[OAuth2Endpoint]:
        with OAuth2Endpoint() as endpoint:
            endpoint.secrets["app"] = "SECRET"
            proxy.guard(endpoint.accepts)
            yield endpoint

    @pytest.fixture
    def client(self, endpoint: OAuth2Endpoint, proxied: str) -> Iterator[FhirClient]:
        chosen = CLIENT | {"fhir_token_url": endpoint.token_url}
        with FhirClient.of(Settings(fhir_service_url=proxied, **chosen)) as client:
            yield client

    def test_another_is_asked_for_once_and_the_request_sent_again(
        self, endpoint: OAuth2Endpoint, client: FhirClient, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_credentials, "YOUNG_SECONDS", 0.0)
        client.capabilities()
        endpoint.revoked.update(endpoint.issued)
        (reply,) = client.exchange([Interaction("GET", "Patient/nobody")])
        assert reply.verdict is Verdict.ABSENT
        assert (endpoint.issued, [request.answer_status for request in proxy.requests]) == (
            ["token-1", "token-2"],
            [200, 401, 200],
        )

    def test_one_bundle_after_another_is_written_with_the_new_one(
        self, endpoint: OAuth2Endpoint, client: FhirClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_credentials, "YOUNG_SECONDS", 0.0)
        client.bundle_size = 1
        client.capabilities()
        endpoint.revoked.update(endpoint.issued)
        replies = client.exchange([Interaction("GET", f"Patient/nobody-{n}") for n in range(20)])
        assert {reply.verdict for reply in replies} == {Verdict.ABSENT}

    def test_a_server_that_takes_none_is_a_setup_error_and_the_endpoint_is_not_asked_again_and_again(
        self, endpoint: OAuth2Endpoint, client: FhirClient, proxy: FaultProxy
    ) -> None:
        client.bundle_size = 1
        client.capabilities()
        proxy.clear()
        proxy.guard(lambda authorization: False)
        interactions = [Interaction("GET", f"Patient/nobody-{n}") for n in range(20)]
        with pytest.raises(FhirAccessDenied, match="FHIR_SCOPE") as caught:
            client.read(interactions, patience())
        assert "token" not in caught.value.message.replace("the token", "")
        assert (endpoint.issued, len(proxy.requests)) == (["token-1"], 20)

    def test_an_endpoint_that_is_away_then_leaves_the_request_unsent(
        self, endpoint: OAuth2Endpoint, client: FhirClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_credentials, "YOUNG_SECONDS", 0.0)
        client.capabilities()
        endpoint.revoked.update(endpoint.issued)
        endpoint.answers.append(TokenAnswer(503, b""))
        with pytest.raises(FhirServerUnavailable, match="token endpoint answered 503"):
            client.exchange([Interaction("GET", "Patient/nobody")])


class TestHeaders:
    def test_requests_say_who_sends_them(self, proxy: FaultProxy, proxied: str) -> None:
        write_all(proxied, series(identity(), {0: 60}))

        assert all(request.headers["User-Agent"].startswith("medtech/") for request in proxy.requests)
        assert len({request.headers["X-Correlation-Id"] for request in proxy.requests}) == len(proxy.requests) == 3
        batches = [request for request in proxy.requests if request.method == "POST"]
        assert all(request.headers["x-bundle-processing-logic"] == "parallel" for request in batches)

    def test_no_answer_comes_from_a_cache(self, proxy: FaultProxy, proxied: str) -> None:
        """HAPI caches what a search found for a minute, and misses what is created meanwhile."""
        write_all(proxied, series(identity(), {0: 60}))
        assert all(request.headers["Cache-Control"] == "no-cache" for request in proxy.requests)

    def test_a_client_waits_longer_than_azure_works(self) -> None:
        assert (client_module.TIMEOUT.read or 0) > 100

    def test_addresses_hold_no_identifiers(self, fhir_profile: Callable[[str], str]) -> None:
        """Gateways and servers log addresses; a search is a POST on servers without batch too."""
        for profile in ("strict", "no-batch"):
            server = Server(fhir_profile(profile))
            address = urlsplit(server.url)
            with FaultProxy(f"{address.scheme}://{address.netloc}") as proxy:
                with FhirClient(f"{proxy.url}{address.path}") as client:
                    (reply,) = client.exchange([Interaction("GET", "Device?identifier=secret%2C1")])
                assert reply.verdict is Verdict.DONE
                assert all("secret" not in request.path for request in proxy.requests)
            server.close()


class TestPages:
    def test_the_address_of_a_further_page_holds_no_identifier(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        """Servers repeat the search in the link; what repeats in it has to be sent as often."""
        name = unique("d")
        for _ in range(5):
            server.put({"resourceType": "Device", "id": unique("d"), "identifier": [{"value": name}]})
        with FhirClient(proxied) as client:
            found = client.search("Device", [{"identifier": name, "_count": "2", "_sort": "_id"}])
        assert len({each["id"] for each in found}) == 5
        sent = [request for request in proxy.requests if reads(request)]
        assert [(request.method, name in request.path) for request in sent] == [("POST", False)] * 3

    @pytest.mark.parametrize("path", ["/the/servers/own/Device", "/Device", "/the/servers/own/Device/_search"])
    def test_nor_does_one_at_another_path_of_the_host(
        self, server: Server, proxy: FaultProxy, proxied: str, path: str
    ) -> None:
        """As the links of a server that knows nothing of the path that a gateway gave it."""
        name = unique("d")
        user = proxied.replace("//", "//user:password@").removesuffix("/fhir/R4")
        link = [{"relation": "next", "url": f"{user}{path}?identifier={name}&page=2"}]
        first = {"resourceType": "Bundle", "type": "searchset", "entry": [], "link": link}
        proxy.answer(200, json.dumps(first).encode(), when=reads)
        with FhirClient(proxied) as client, pytest.raises(FhirServerUnavailable):
            client.search("Device", [{"identifier": name}])
        _, following = (request for request in proxy.requests if reads(request))
        assert following.method == "POST"
        assert following.path == f"{path.removesuffix('/_search')}/_search"
        assert parse_qs(following.body.decode()) == {"identifier": [name], "page": ["2"]}

    def test_links_to_another_host_are_not_followed(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        elsewhere = {"link": [{"relation": "next", "url": "https://elsewhere.example.org/Device?page=2"}]}
        proxy.rewrite(lambda answer: answer | elsewhere, when=reads)
        with FhirClient(proxied) as client, pytest.raises(FhirAccessDenied, match="another host"):
            client.search("Device", [{"identifier": unique("d")}])

    def test_a_circle_of_pages_ends(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        again = {"link": [{"relation": "next", "url": f"{proxied}/Device?identifier=x"}]}
        proxy.rewrite(lambda answer: answer | again, when=reads, times=None)
        with FhirClient(proxied) as client, pytest.raises(FhirServerUnavailable, match="circle"):
            client.search("Device", [{"identifier": unique("d")}])

    def test_pages_without_end_are_given_up(
        self, proxy: FaultProxy, proxied: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "MAX_PAGES", 5)
        pages = count(1)

        def one_more(answer: Any) -> Any:
            return answer | {"link": [{"relation": "next", "url": f"{proxied}/Device?identifier=x&page={next(pages)}"}]}

        proxy.rewrite(one_more, when=reads, times=None)
        with FhirClient(proxied) as client, pytest.raises(FhirServerUnavailable, match="more than 5 pages"):
            client.search("Device", [{"identifier": unique("d")}])
        assert len([request for request in proxy.requests if reads(request)]) == 6

    def test_a_link_that_is_not_an_address(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.rewrite(lambda answer: answer | {"link": [{"relation": "next", "url": "http://[::1"}]}, when=reads)
        with FhirClient(proxied) as client, pytest.raises(FhirServerUnavailable, match="not an address"):
            client.search("Device", [{"identifier": unique("d")}])

    @pytest.mark.parametrize(
        "page",
        [
            {"resourceType": "Basic"},
            {"resourceType": "Bundle", "entry": 5},
            {"resourceType": "Bundle", "entry": [None]},
            {"resourceType": "Bundle", "entry": [{}]},
            {"resourceType": "Bundle", "link": ["next"]},
        ],
    )
    def test_a_page_that_is_not_fhir_is_an_outage(self, proxy: FaultProxy, proxied: str, page: Any) -> None:
        """Read as a page without matches, it would say that a Device is not there."""
        proxy.rewrite(lambda answer: page, when=reads, times=None)
        with FhirClient(proxied) as client, pytest.raises(FhirServerUnavailable, match="not a Bundle"):
            client.search("Device", [{"identifier": unique("d")}])

    def test_relative_links_are_followed(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        name = unique("d")
        server.put({"resourceType": "Device", "id": unique("d"), "identifier": [{"value": name}]})
        relative = {"link": [{"relation": "next", "url": f"Device?identifier={name}"}], "entry": []}
        proxy.rewrite(lambda answer: answer | relative, when=reads)
        with FhirClient(proxied) as client:
            assert len(client.search("Device", [{"identifier": name}])) == 1

    def test_only_what_was_searched_for_is_a_match(self) -> None:
        wanted, plain, included = ({"resourceType": "Device", "id": each} for each in "123")
        page = {
            "entry": [
                {"resource": wanted, "search": {"mode": "match"}},
                {"resource": plain},
                {"resource": included, "search": {"mode": "include"}},
                {"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}},
                {"resource": {"resourceType": "OperationOutcome"}},
            ]
        }
        assert matches(page) == [wanted, plain]
        assert matches({}) == []


class TestBundles:
    def test_they_are_bounded_in_entries(self, proxy: FaultProxy, proxied: str) -> None:
        with FhirClient(proxied, bundle_size=30) as client:
            replies = client.exchange([Interaction("GET", f"Patient/{n}") for n in range(100)])
        assert [reply.interaction.url for reply in replies] == [f"Patient/{n}" for n in range(100)]
        assert sorted(len(request.bundle_methods) for request in proxy.requests) == [0, 10, 30, 30, 30]

    def test_they_are_bounded_in_bytes(self, proxy: FaultProxy, proxied: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client_module, "MAX_BUNDLE_BYTES", 10_000)
        large = b'{"resourceType":"Basic","note":"' + b"x" * 4_000 + b'"}'
        with FhirClient(proxied) as client:
            client.exchange([Interaction("PUT", f"Basic/{n}", large) for n in range(5)])
            client.exchange([Interaction("PUT", "Basic/9", large * 5)])
        assert all(len(request.body) < 10_000 for request in proxy.requests[:-1])
        # Side by side, so in any order.
        assert sorted(len(request.bundle_methods) for request in proxy.requests[:-1] if request.body) == [1, 2, 2]

    def test_they_travel_side_by_side(self, proxy: FaultProxy, proxied: str) -> None:
        """Each waits at the proxy for the other: sent one after the other, neither would get through."""
        meeting = threading.Barrier(2, timeout=30)
        proxy.before_forwarding(lambda request: meeting.wait(), when=reads, times=2)
        with FhirClient(proxied, bundle_size=1) as client:
            replies = client.exchange([Interaction("GET", "Patient/1"), Interaction("GET", "Patient/2")])
        assert [reply.verdict for reply in replies] == [Verdict.ABSENT] * 2


class TestSearchesInBatches:
    """A server, or a gateway before it, that takes bundles but no searches in them."""

    @staticmethod
    def _refusing(proxy: FaultProxy, status: int, *, envelope: bool) -> None:
        """Every search in a batch is refused with that status, or the batch as a whole."""

        def act(request: ProxiedRequest, forward: Forward) -> Answer:
            if envelope:
                return Answer(status, [], b"<html>refused</html>")
            response = {"response": {"status": str(status)}}
            bundle = {"resourceType": "Bundle", "type": "batch-response", "entry": [response] * len(_searches(request))}
            return Answer(200, [], json.dumps(bundle).encode())

        proxy.rule(act, when=lambda request: bool(_searches(request)), times=None)

    @pytest.mark.parametrize("envelope", [False, True])
    @pytest.mark.parametrize("status", [400, 405, 501])
    def test_they_are_sent_one_by_one_from_then_on(
        self, server: Server, proxy: FaultProxy, proxied: str, status: int, envelope: bool
    ) -> None:
        names = [unique("d") for _ in range(5)]
        for name in names:
            server.put({"resourceType": "Device", "id": name, "identifier": [{"value": name}]})
        searches = [Interaction("GET", f"Device?identifier={name}") for name in names]
        read = Interaction("GET", f"Device/{names[0]}")
        self._refusing(proxy, status, envelope=envelope)
        with FhirClient(proxied) as client:
            for _ in range(2):
                replies = client.exchange([*searches[:3], *searches[3:]])
                assert [[each["id"] for each in matches(reply.resource or {})] for reply in replies] == [
                    [name] for name in names
                ]
            # Once it is known, reads are still sent in a batch, and the replies are in order.
            proxy.clear()
            replies = client.exchange([searches[0], read, searches[1], read])
            assert [reply.interaction for reply in replies] == [searches[0], read, searches[1], read]
            assert all(reply.verdict is Verdict.DONE for reply in replies)
            assert sorted(len(request.bundle_methods) for request in proxy.requests) == [0, 0, 2]

    def test_they_travel_side_by_side(self, fhir_profile: Callable[[str], str]) -> None:
        """Each waits at the proxy for the other: sent one after the other, neither would get through."""
        url = urlsplit(fhir_profile("no-search-in-batch"))
        searches = [Interaction("GET", f"Device?identifier={unique('d')}") for _ in range(2)]
        with FaultProxy(f"{url.scheme}://{url.netloc}") as proxy, FhirClient(f"{proxy.url}{url.path}") as client:
            client.exchange(searches)
            meeting = threading.Barrier(2, timeout=30)
            proxy.before_forwarding(lambda request: meeting.wait(), when=reads, times=2)
            assert [reply.verdict for reply in client.exchange(searches)] == [Verdict.DONE] * 2

    def test_batches_are_tried_again_with_new_capabilities(
        self, server: Server, proxy: FaultProxy, proxied: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "CAPABILITIES_SECONDS", -1.0)
        searches = [Interaction("GET", f"Device?identifier={unique('d')}") for _ in range(3)]
        self._refusing(proxy, 400, envelope=False)
        with FhirClient(proxied) as client:
            client.exchange(searches)
            proxy.clear()
            client.exchange(searches)
        assert [len(request.bundle_methods) for request in proxy.requests] == [0, 3]

    @pytest.mark.parametrize("envelope", [False, True])
    def test_one_that_is_refused_alone_too_says_nothing(
        self, server: Server, proxy: FaultProxy, proxied: str, envelope: bool
    ) -> None:
        """Then batches are not to blame, and it costs its neighbours nothing."""
        proxy.answer(400, when=lambda request: request.path.endswith("/_search"), times=None)
        self._refusing(proxy, 400, envelope=envelope)
        search = Interaction("GET", f"Device?identifier={unique('d')}")
        with FhirClient(proxied) as client:
            (reply,) = client.exchange([search])
            assert client.capabilities().search_in_batch
        assert reply.verdict is Verdict.UNKNOWN

    def test_one_that_is_refused_among_others_is_not_sent_alone(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        proxy.rewrite(
            lambda answer: answer | {"entry": [{"response": {"status": "400"}}, *answer["entry"][1:]]}, when=reads
        )
        with FhirClient(proxied) as client:
            replies = client.exchange([Interaction("GET", f"Device?identifier={unique('d')}") for _ in range(3)])
        assert [reply.verdict for reply in replies] == [Verdict.UNKNOWN, Verdict.DONE, Verdict.DONE]
        assert not [request for request in proxy.requests if request.path.endswith("/_search")]


def _searches(request: ProxiedRequest) -> list[str]:
    """The searches in a batch."""
    entries = json.loads(request.body)["entry"] if request.bundle_methods else []
    return [each["request"]["url"] for each in entries if "?" in each["request"]["url"]]


class TestTimeout:
    def test_no_answer_in_time_is_an_unknown_answer(
        self, server: Server, proxy: FaultProxy, proxied: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server carries the write out after the client has given up; the next read finds it."""
        monkeypatch.setattr(client_module, "TIMEOUT", httpx.Timeout(1.0))
        given_up = threading.Event()
        proxy.after_forwarding(lambda request: given_up.wait(30), when=writes)

        (outcome,) = write_all(proxied, series(identity(), {0: 60}), pause=lambda seconds: given_up.set())

        assert saved_as(outcome) is SavedAs.CREATED
        assert server.versions(f"Observation/{resource_id(outcome.write)}") == 1


class TestCapabilities:
    def test_they_are_read_once(self, proxy: FaultProxy, proxied: str) -> None:
        with FhirClient(proxied) as client:
            for _ in range(3):
                client.exchange([Interaction("GET", "Patient/1")])
        assert [request.path.split("/")[-1] for request in proxy.requests].count("metadata") == 1

    def test_they_are_read_again_when_old(
        self, proxy: FaultProxy, proxied: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "CAPABILITIES_SECONDS", -1.0)
        with FhirClient(proxied) as client:
            client.capabilities()
            client.capabilities()
        assert len(proxy.requests) == 2

    @pytest.mark.parametrize("status", [404, 500, 503])
    def test_old_ones_hold_while_they_cannot_be_read_again(
        self, proxy: FaultProxy, proxied: str, monkeypatch: pytest.MonkeyPatch, status: int
    ) -> None:
        monkeypatch.setattr(client_module, "CAPABILITIES_SECONDS", -1.0)
        with FhirClient(proxied) as client:
            before = client.capabilities()
            proxy.answer(status, when=lambda request: request.path.endswith("/metadata"), times=None)
            assert [client.capabilities() for _ in range(3)] == [before] * 3
        # Asked for again once, and then not before some time has passed.
        assert len(proxy.requests) == 2

    def test_a_server_that_loses_a_capability_is_refused(
        self, proxy: FaultProxy, proxied: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "CAPABILITIES_SECONDS", -1.0)
        with FhirClient(proxied) as client:
            client.capabilities()
            proxy.rewrite(lambda answer: answer | {"fhirVersion": "3.0.1"})
            with pytest.raises(FhirAccessDenied, match="R4"):
                client.capabilities()

    def test_without_old_ones_nothing_is_sent(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.answer(503)
        with FhirClient(proxied) as client, pytest.raises(FhirServerUnavailable):
            client.exchange([Interaction("GET", "Patient/1")])
        assert len(proxy.requests) == 1

    @pytest.mark.parametrize("page", [b"<html></html>", b'{"resourceType": "OperationOutcome"}', b"{}"])
    def test_a_page_in_their_place_is_an_outage(self, proxy: FaultProxy, proxied: str, page: bytes) -> None:
        proxy.answer(200, page)
        with FhirClient(proxied) as client, pytest.raises(FhirServerUnavailable):
            client.capabilities()

    def test_a_server_of_another_release_is_refused(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.rewrite(lambda answer: answer | {"fhirVersion": "3.0.1"})
        with FhirClient(proxied) as client, pytest.raises(FhirAccessDenied, match="R4"):
            client.capabilities()


class TestLogs:
    def test_addresses_and_headers_are_not_logged(self, server: Server, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            for name in ("httpx", "httpcore"):
                logging.getLogger(name).setLevel(logging.NOTSET)
            with FhirClient(server.url) as client:
                client.exchange([Interaction("GET", "Patient/secret")])
        assert not [record for record in caplog.records if record.name.startswith("http")]


NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "Sun, 01 Mar 2026 12:01:30 GMT"}, 90.0),
        ({"retry-after": "Sun, 01 Mar 2026 13:01:30 +0100"}, 90.0),
        ({"retry-after": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1\xb2"}, None),
        ({"retry-after": "9" * 5000}, None),
        ({"retry-after": "Sun, 01 Mar 99999999999 12:01:30 GMT"}, None),
        ({"retry-after": "Sun, 01 Mar 2026 12:01:30 +99999999999999"}, None),
        ({"x-ms-retry-after-ms": "\xb9\xb2"}, None),
        ({"x-ms-retry-after-ms": "9" * 5000}, None),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("resource", "etag", "location", "version"),
    [
        ({"meta": {"versionId": "3"}}, 'W/"2"', None, "3"),
        ({}, 'W/"2"', None, "2"),
        (None, '"2"', None, "2"),
        (None, "2", None, "2"),
        (None, 'W/"0a1b-c"', "http://h/Observation/x/_history/9", "0a1b-c"),
        (None, None, "http://h/Observation/x/_history/9", "9"),
        (None, None, "Observation/x/_history/9", "9"),
        (None, None, "http://h/Observation/x", None),
        (None, 'W/""', None, None),
        (None, None, None, None),
    ],
)
def test_version(resource: Any, etag: str | None, location: str | None, version: str | None) -> None:
    assert version_from(resource, etag, location) == version


@pytest.mark.parametrize(
    ("status", "version", "creates", "overwrote"),
    [
        (201, "1", True, False),
        (201, "2", True, True),
        (201, "0a1b-c", True, False),
        (201, None, True, False),
        (200, "1", True, True),
        (200, None, True, True),
        (200, "2", False, False),
    ],
)
def test_whether_a_create_went_over_a_version(status: int, version: str | None, creates: bool, overwrote: bool) -> None:
    interaction = Interaction("PUT", "Observation/o", b"{}", None if creates else "1", if_none_match=creates)
    assert has_predecessor(Reply(interaction, status, version=version)) is overwrote


def test_an_outcome_is_cut_to_what_a_letter_holds() -> None:
    text = outcome_text({"resourceType": "OperationOutcome", "issue": [{"diagnostics": "x" * 100_000}]})
    assert text is not None
    assert text.startswith('{"resourceType":"OperationOutcome"')
    assert len(text) == MAX_OUTCOME_CHARACTERS


def test_a_bundle_from_a_test_server_is_an_answer(proxy: FaultProxy, proxied: str) -> None:
    """The proxy's own answers count as the server's, which the fault tests rely on."""
    proxy.rule(lambda request, forward: Answer(200, [], b'{"resourceType":"Bundle","entry":[]}'), when=reads)
    with FhirClient(proxied) as client:
        (reply,) = client.exchange([Interaction("GET", "Patient/1")])
    assert reply.verdict is Verdict.UNKNOWN


class TestDeadline:
    def test_with_too_little_time_for_an_answer_nothing_is_sent(self, proxy: FaultProxy, proxied: str) -> None:
        with FhirClient(proxied) as client:
            client.capabilities()
            proxy.clear()
            with within(Deadline(SHORTEST_SECONDS - 1, lambda: 0.0)):
                (reply,) = client.exchange([Interaction("GET", "Patient/1")])
                assert reply.verdict is Verdict.UNKNOWN
                assert isinstance(client.unavailable(reply), OutOfTime)
                with pytest.raises(OutOfTime):
                    client.read([Interaction("GET", "Patient/1")], patience())
                with pytest.raises(OutOfTime):
                    client.search("Patient", [{"identifier": "1"}])
        assert proxy.requests == []

    def test_a_request_waits_for_its_answer_no_longer_than_the_time_that_is_left(
        self, proxy: FaultProxy, proxied: str
    ) -> None:
        ended = threading.Event()
        proxy.before_forwarding(lambda request: ended.wait(60), when=reads)
        with FhirClient(proxied) as client:
            client.capabilities()
            started = time.monotonic()
            with within(Deadline(SHORTEST_SECONDS + 1)):
                (reply,) = client.exchange([Interaction("GET", "Patient/1")])
            assert time.monotonic() - started < 30
            ended.set()
        assert reply.verdict is Verdict.UNKNOWN

    def test_no_wait_is_longer_than_the_time_that_is_left(self) -> None:
        waits: list[float] = []
        patience = Patience(seconds=60, pause=waits.append)
        with within(Deadline(3, lambda: 0.0)):
            assert not patience.waits(0.1, asked_seconds=5)
            assert patience.waits(0.1)
        assert patience.waits(0.1, asked_seconds=5)
        assert len(waits) == 2


NOT_FHIR: list[Any] = [None, 5, "text", [], [None], {}, {"x": 1}]


@pytest.mark.parametrize("place", ["entries", "entry", "resource", "meta", "version", "response", "status", "location"])
@pytest.mark.parametrize("value", NOT_FHIR, ids=str)
def test_a_batch_response_that_is_not_fhir_settles_nothing_or_what_it_says(place: str, value: Any) -> None:
    """Whatever stands there, there is a reply; where nothing says that it was carried out, it is unknown."""
    version = value if place == "version" else {"resource": value} if place == "meta" else None
    resource: Any = {"resourceType": "Bundle", "type": "history", "entry": [version]}
    if place == "meta":
        resource = {"resourceType": "Patient", "id": "1", "meta": value}
    response: Any = {"status": "200", "etag": 'W/"1"', "location": "Patient/1"}
    if place in ("status", "location"):
        response |= {place: value}
    entry: Any = {
        "resource": value if place == "resource" else resource,
        "response": value if place == "response" else response,
    }
    entries: Any = value if place == "entries" else [value if place == "entry" else entry]

    (reply,) = match_entries([Interaction("PUT", "Patient/1", b"{}")], {"entry": entries}, None)

    settles = place not in ("entries", "entry", "response", "status")
    assert reply.verdict is (Verdict.DONE if settles else Verdict.UNKNOWN)


PUT = Interaction("PUT", "Patient/1", b"{}")


def done_entry(**changed: Any) -> dict[str, Any]:
    resource = {"resourceType": "Patient", "id": "1", "meta": {"versionId": "3"}, "multipleBirthInteger": 1.50}
    response = {"status": "200 OK", "etag": 'W/"3"', "location": "Patient/1/_history/3", "lastModified": "now"}
    return {"resource": resource, "response": response} | changed


@pytest.mark.parametrize(
    "entry",
    [
        done_entry(),
        done_entry(response={"status": "201"}),
        done_entry(resource=None),
        done_entry(resource=None, response={"status": "201", "location": "http://x/Patient/1/_history/4"}),
        done_entry(resource=None, response={"status": "200", "location": "elsewhere", "etag": "5"}),
        done_entry(resource={"resourceType": "OperationOutcome", "id": "of", "issue": []}),
        done_entry(resource={"resourceType": "Patient", "id": "1", "meta": {"versionId": ""}}),
        {"response": {"status": "200"}},
    ],
    ids=repr,
)
def test_replies_to_writes_that_were_done_are_those_of_the_whole_answer(entry: dict[str, Any]) -> None:
    bundle = {"resourceType": "Bundle", "entry": [entry]}

    done = replies_to_done([PUT], json.dumps(bundle).encode(), 7.0)

    assert done == [reply._replace(resource=None) for reply in match_entries([PUT], bundle, 7.0)]


@pytest.mark.parametrize(
    "answer",
    [
        {"resourceType": "Bundle", "entry": []},
        {"resourceType": "Bundle", "entry": [done_entry(), done_entry()]},
        {"resourceType": "Bundle", "entry": [done_entry(response={"status": "412"})]},
        {"resourceType": "Bundle", "entry": [done_entry(response={"status": ""})]},
        {"resourceType": "Bundle", "entry": [done_entry(response={"status": 200})]},
        {"resourceType": "Bundle", "entry": [done_entry(response=None)]},
        {"resourceType": "Bundle", "entry": [done_entry(resource={"resourceType": "Patient", "id": "2"})]},
        {"resourceType": "Bundle", "entry": [done_entry(resource=None, response={"status": "2", "location": "A/2"})]},
        {"resourceType": "Bundle", "entry": [done_entry(resource={"meta": {"versionId": 3}})]},
        {"resourceType": "Patient", "entry": [done_entry()]},
        {"resourceType": "Bundle"},
        [],
    ],
    ids=repr,
)
def test_any_other_answer_to_writes_is_read_as_a_whole(answer: Any) -> None:
    assert replies_to_done([PUT], json.dumps(answer).encode(), None) is None


GET = Interaction("GET", "Patient/1")


@pytest.mark.parametrize(
    "entry",
    [
        done_entry(),
        done_entry(resource={"resourceType": "Patient", "id": "1", "meta": 5, "a": 12345678901234567890}),
        done_entry(resource={"resourceType": "Device"}),
        done_entry(resource=None),
        done_entry(resource={}),
        {"response": {"status": "404 Not Found", "outcome": {"resourceType": "OperationOutcome"}}},
        {"response": {"status": "410"}, "resource": {"resourceType": "OperationOutcome", "id": "x"}},
    ],
    ids=repr,
)
def test_replies_to_reads_are_those_of_the_whole_answer(entry: dict[str, Any]) -> None:
    answer = json.dumps({"resourceType": "Bundle", "entry": [entry]}).encode()

    found = replies_to_reads([GET], answer, 7.0)

    assert found == match_entries([GET], parse_resource(answer), 7.0)


@pytest.mark.parametrize(
    "entry",
    [
        {"response": {"status": "503"}},
        {"response": {"status": "200"}, "resource": {"resourceType": "Patient", "id": "2"}},
        {"response": {"status": "200", "location": "Patient/2"}},
        {"response": {"status": "200"}, "resource": {"resourceType": "Bundle", "type": "history", "entry": []}},
        {"response": {"status": "200"}, "resource": [1]},
        {"resource": {"resourceType": "Patient", "id": "1"}},
        5,
    ],
    ids=repr,
)
def test_any_other_answer_to_reads_is_read_as_a_whole(entry: Any) -> None:
    answer = json.dumps({"resourceType": "Bundle", "entry": [entry]}).encode()
    assert replies_to_reads([GET], answer, None) is None


@pytest.mark.parametrize("answer", [b"", b"<html>", b'{"resourceType":"Bundle","entry":[', b"[" * 100_000])
def test_what_is_not_json_says_nothing_of_writes(answer: bytes) -> None:
    assert replies_to_done([PUT], answer, None) is None


def test_waits_grow_and_end() -> None:
    waits: list[float] = []
    patience = Patience(seconds=60, pause=waits.append)
    while patience.waits(1.0):
        pass
    assert len(waits) == 5
    assert all(2**n / 2 <= wait <= 2**n for n, wait in enumerate(waits))
