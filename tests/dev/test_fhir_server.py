"""The local FHIR server answers as real ones do; otherwise the tests of persist would prove nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fhir_server import FhirServer
from tests.persist.samples import unique

HEADERS = {"content-type": "application/fhir+json"}


@pytest.fixture
def http(fhir_profile: Callable[[str], str]) -> Iterator[Callable[[str], httpx.Client]]:
    """Makes a client of the server with a given profile."""
    clients: list[httpx.Client] = []

    def client(profile: str = "strict") -> httpx.Client:
        url = fhir_profile(profile)
        clients.append(httpx.Client(base_url=url, headers=HEADERS, timeout=30))
        return clients[-1]

    yield client
    for each in clients:
        each.close()


def patient(**content: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": unique("p"), **content}


def put(http: httpx.Client, resource: dict[str, Any], **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.put(f"/{resource['resourceType']}/{resource['id']}", json=resource, headers=names)


def batch(http: httpx.Client, *entries: dict[str, Any]) -> list[dict[str, Any]]:
    answer = http.post("", json={"resourceType": "Bundle", "type": "batch", "entry": entries})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["entry"])


def entry(method: str, url: str, resource: Any = None, **conditions: str) -> dict[str, Any]:
    return {"request": {"method": method, "url": url, **conditions}, **({"resource": resource} if resource else {})}


class TestVersions:
    def test_a_put_creates_then_updates(self, http: Callable[..., httpx.Client]) -> None:
        server, resource = http(), patient()
        created, updated = put(server, resource), put(server, resource | {"active": True})

        assert (created.status_code, created.headers["etag"]) == (201, 'W/"1"')
        assert created.headers["location"].endswith(f"/Patient/{resource['id']}/_history/1")
        assert "GMT" in created.headers["last-modified"]
        assert (updated.status_code, updated.headers["etag"]) == (200, 'W/"2"')
        assert "location" not in updated.headers

    def test_if_match(self, http: Callable[..., httpx.Client]) -> None:
        server, resource = http(), patient()
        assert put(server, resource, if_match='W/"1"').status_code == 412
        put(server, resource)
        assert put(server, resource, if_match='W/"1"').status_code == 200
        assert put(server, resource, if_match='W/"1"').status_code == 412

    def test_if_none_match(self, http: Callable[..., httpx.Client]) -> None:
        server, resource = http(), patient()
        assert put(server, resource, if_none_match="*").status_code == 201
        assert put(server, resource, if_none_match="*").status_code == 412
        server.delete(f"/Patient/{resource['id']}")
        assert put(server, resource, if_none_match="*").status_code == 201

    def test_history_goes_over_deletions(self, http: Callable[..., httpx.Client]) -> None:
        server, resource = http(), patient()
        path = f"/Patient/{resource['id']}"
        put(server, resource)
        assert server.delete(path).status_code == 204
        assert server.get(path).status_code == 410
        assert put(server, resource).status_code == 201

        history = server.get(f"{path}/_history").json()
        assert [each["request"]["method"] for each in history["entry"]] == ["PUT", "DELETE", "PUT"]
        assert [each["response"]["etag"] for each in history["entry"]] == ['W/"3"', 'W/"2"', 'W/"1"']
        assert "resource" not in history["entry"][1]
        assert server.get(f"{path}/_history/1").json()["meta"]["versionId"] == "1"
        assert server.get(f"{path}/_history/2").status_code == 410
        assert server.get(f"/Patient/{unique('p')}").status_code == 404

    def test_history_has_pages(self, http: Callable[..., httpx.Client]) -> None:
        server, resource = http(), patient()
        for _ in range(3):
            put(server, resource)
        page = server.get(f"/Patient/{resource['id']}/_history?_count=2").json()
        following = next(link["url"] for link in page["link"] if link["relation"] == "next")
        assert [each["resource"]["meta"]["versionId"] for each in server.get(following).json()["entry"]] == ["1"]


class TestSearch:
    def test_pages_to_the_end(self, http: Callable[..., httpx.Client]) -> None:
        server, value = http(), unique("v")
        ids = {put(server, patient(identifier=[{"value": value}])).json()["id"] for _ in range(5)}

        for first in (
            server.get(f"/Patient?identifier={value}&_count=2"),
            server.post(
                "/Patient/_search",
                data={"identifier": value, "_count": "2"},
                headers={"content-type": "application/x-www-form-urlencoded"},
            ),
        ):
            found: set[str] = set()
            page = first.json()
            while True:
                found |= {each["resource"]["id"] for each in page["entry"]}
                links = {link["relation"]: link["url"] for link in page["link"]}
                if "next" not in links:
                    break
                page = server.get(links["next"]).json()
            assert found == ids

    def test_escapes_systems_and_alternatives(self, http: Callable[..., httpx.Client]) -> None:
        server, value = http(), unique("a,b|c$d\\")
        put(server, patient(identifier=[{"system": "urn:x", "value": value}]))
        escaped = value.replace("\\", "\\\\").replace(",", "\\,").replace("|", "\\|").replace("$", "\\$")

        def total(search: str) -> int:
            return int(server.get("/Patient", params={"identifier": search}).json()["total"])

        assert [total(escaped), total(f"urn:x|{escaped}"), total(f"none,{escaped}")] == [1, 1, 1]
        assert [total(value), total(f"urn:y|{escaped}"), total(f"|{escaped}")] == [0, 0, 0]


class TestContent:
    def test_numbers_keep_their_digits(self, http: Callable[..., httpx.Client]) -> None:
        server, resource = http(), patient()
        number = "1.2345678901234567890123456700"
        text = (
            f'{{"resourceType":"Patient","id":"{resource["id"]}","extension":[{{"url":"u","valueDecimal":{number}}}]}}'
        )
        assert number in server.put(f"/Patient/{resource['id']}", content=text).text
        assert number in server.get(f"/Patient/{resource['id']}").text

    @pytest.mark.parametrize("fault", [{"birthDate": "2026-13"}, {"unknown": 1}, {"active": "yes"}, {"gender": "  "}])
    def test_invalid_resources_are_refused(self, http: Callable[..., httpx.Client], fault: dict[str, Any]) -> None:
        answer = put(http(), patient(**fault))
        assert answer.status_code == 400
        assert answer.json()["resourceType"] == "OperationOutcome"

    def test_named_profiles_are_checked(self, http: Callable[..., httpx.Client]) -> None:
        observation = {
            "resourceType": "Observation",
            "id": unique("o"),
            "meta": {"profile": ["http://hl7.org/fhir/StructureDefinition/vitalsigns"]},
            "status": "final",
            "code": {"text": "heart rate"},
        }
        assert put(http(), observation).status_code == 400

    def test_no_json(self, http: Callable[..., httpx.Client]) -> None:
        assert http().put("/Patient/x", content="{").status_code == 400


class TestBatch:
    def test_each_entry_has_its_own_answer(self, http: Callable[..., httpx.Client]) -> None:
        server, resource = http(), patient()
        path = f"Patient/{resource['id']}"
        entries = batch(
            server,
            entry("PUT", path, resource, ifNoneMatch="*"),
            entry("PUT", path, resource, ifNoneMatch="*"),
            entry("GET", path),
            entry("GET", f"Patient/{unique('p')}"),
            entry("PUT", path, resource, ifMatch='W/"1"'),
            entry("PUT", path, resource | {"active": "yes"}),
        )
        statuses = [each["response"]["status"].split()[0] for each in entries]
        assert statuses == ["201", "412", "200", "404", "200", "400"]
        assert entries[0]["response"]["etag"] == 'W/"1"'
        assert entries[4]["response"]["etag"] == 'W/"2"'
        assert entries[5]["response"]["outcome"]["resourceType"] == "OperationOutcome"


class TestProfiles:
    def test_no_if_none_match(self, http: Callable[..., httpx.Client]) -> None:
        server, resource = http("no-if-none-match"), patient()
        assert [put(server, resource, if_none_match="*").status_code for _ in range(2)] == [200, 200]

    def test_no_etag(self, http: Callable[..., httpx.Client]) -> None:
        resource = patient()
        (answer,) = batch(http("no-etag"), entry("PUT", f"Patient/{resource['id']}", resource))
        assert answer["response"] == {"status": "201 Created"}

    def test_milliseconds(self, http: Callable[..., httpx.Client]) -> None:
        name = [{"family": "x", "period": {"start": "2026-03-01T12:00:00.1239999Z"}}]
        stored = put(http("milliseconds"), patient(name=name)).json()
        assert stored["name"][0]["period"]["start"] == "2026-03-01T12:00:00.123Z"

    def test_outer_400(self, http: Callable[..., httpx.Client]) -> None:
        server, good, bad = http("outer-400"), patient(), patient(active="yes")
        entries = [entry("PUT", f"Patient/{each['id']}", each) for each in (good, bad)]
        assert server.post("", json={"resourceType": "Bundle", "type": "batch", "entry": entries}).status_code == 400
        assert server.get(f"/Patient/{good['id']}").status_code == 404

    @pytest.mark.parametrize(("profile", "status"), [("no-search-in-batch", 400), ("no-search-in-batch-501", 501)])
    def test_no_search_in_batch(self, http: Callable[..., httpx.Client], profile: str, status: int) -> None:
        server, known = http(profile), patient(identifier=[{"value": unique("v")}])
        url, search = f"Patient/{known['id']}", f"Patient?identifier={known['identifier'][0]['value']}"
        answers = batch(server, entry("PUT", url, known), entry("GET", url), entry("GET", search))
        history = batch(server, entry("GET", f"{url}/_history"))
        assert [each["response"]["status"][:3] for each in answers + history] == ["201", "200", str(status), "200"]
        assert answers[2]["response"]["outcome"]["resourceType"] == "OperationOutcome"
        assert server.get(f"/{search}").json()["total"] == 1

    @pytest.mark.parametrize(
        ("profile", "code", "updates"),
        [("strict", ["batch"], True), ("no-batch", [], True), ("no-update-create", ["batch"], False)],
    )
    def test_capabilities_are_true(
        self, http: Callable[..., httpx.Client], profile: str, code: list[str], updates: bool
    ) -> None:
        server = http(profile)
        (rest,) = server.get("/metadata").json()["rest"]
        observation = next(each for each in rest["resource"] if each["type"] == "Observation")
        assert [each["code"] for each in rest.get("interaction", [])] == code
        assert observation["updateCreate"] is updates
        assert put(server, patient()).status_code == (201 if updates else 405)
        assert (server.post("", json={"resourceType": "Bundle", "type": "batch"}).status_code == 200) is bool(code)


def test_data_outlive_a_restart(tmp_path: Path) -> None:
    server = FhirServer(tmp_path, data=tmp_path / "fhir.jsonl")
    resource = patient()
    server.start()
    try:
        for version in range(2):
            httpx.put(
                f"{server.url}/Patient/{resource['id']}", json=resource | {"active": bool(version)}, headers=HEADERS
            )
        server.stop()
        server.start()
        found = httpx.get(f"{server.url}/Patient/{resource['id']}")
        assert (found.headers["etag"], found.json()["active"]) == ('W/"2"', True)
    finally:
        server.stop()
