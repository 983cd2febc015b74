"""The FHIR server, over HTTP: interactions in batches, searches to their last page, and what an answer means.

Nothing here decides what becomes of data; a `Reply` for each interaction says what is known. What concerns the server
as a whole is raised: FhirAccessDenied when somebody must fix a setting, FhirServerUnavailable when it is away.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime
from ipaddress import ip_address
from threading import TIMEOUT_MAX, Lock
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urljoin
from uuid import uuid4

import httpx
import orjson

from medtech import __version__, deadline
from medtech.errors import FhirAccessDenied, FhirServerUnavailable, OutOfTime, SettingInvalid
from medtech.persist.answers import (
    Interaction,
    Reply,
    Resource,
    Verdict,
    match_entries,
    outcome_text,
    retry_after_seconds,
    version_from,
)
from medtech.persist.capabilities import Capabilities, read_capabilities
from medtech.persist.credentials import Credentials, EntraCredentials, NoCredentials
from medtech.persist.patience import Patience
from medtech.transform.fhir_json import NotAResource, parse_resource

CONCURRENT_BUNDLES = 8
"""Bundles under way at once, from all shards together."""

MAX_BUNDLE_BYTES = 4_000_000
"""Azure's FHIR services take 4 MiB and more; a single resource above this is sent alone."""

TIMEOUT = httpx.Timeout(connect=10.0, read=130.0, write=60.0, pool=130.0)
"""Azure works for up to 100 s on a bundle: with a shorter wait, a bundle that is about to be answered would count as
unanswered."""

SHORTEST_SECONDS = 2.0
"""With less time than this until the deadline nothing is sent: a create whose answer is not awaited has its history
read at the next flush."""

LATE_SECONDS = 1.0
"""How long after the deadline a request may end by its own timeout, before nobody waits for it any more."""

OUTAGE_SECONDS = 0.5
"""The first wait for a server that did not answer; it doubles."""

CAPABILITIES_SECONDS = 3600.0
CAPABILITIES_RETRY_SECONDS = 60.0
"""When capabilities that could not be read again are asked for next; until then the old ones hold."""

MAX_PAGES = 1000
"""Of one search or history. A server that hands out links to a next page for ever would hold up its shard for good."""

FHIR_JSON = "application/fhir+json"

Part = TypeVar("Part")
Answered = TypeVar("Answered")


def quiet_http_logs() -> None:
    """httpx logs every URL at INFO and httpcore every header at DEBUG; these hold identifiers and tokens."""
    for name in ("httpx", "httpcore", "azure.core.pipeline.policies.http_logging_policy", "azure.identity"):
        logging.getLogger(name).setLevel(logging.WARNING)


class FhirClient:
    """One per process; its methods may be called from several threads.

    `base_url` with or without a trailing slash; `audience` is what tokens are requested for (default: the URL's
    origin). Raises SettingInvalid for what is not an http address, and for plain http to another machine: anyone on the
    way could read health data.
    """

    def __init__(
        self,
        base_url: str,
        audience: str = "",
        *,
        bundle_size: int = 100,
        credentials: Credentials | None = None,
    ) -> None:
        quiet_http_logs()
        self._base = _checked(base_url)
        self.bundle_size = bundle_size
        if credentials is None:
            secure = self._base.scheme == "https"
            credentials = EntraCredentials(audience or _origin(self._base)) if secure else NoCredentials()
        self.credentials = credentials
        self._http = httpx.Client(
            timeout=TIMEOUT,
            limits=httpx.Limits(max_connections=CONCURRENT_BUNDLES, max_keepalive_connections=CONCURRENT_BUNDLES),
            headers={"User-Agent": f"medtech/{__version__}", "Accept": FHIR_JSON},
        )
        self._pool = ThreadPoolExecutor(CONCURRENT_BUNDLES, thread_name_prefix="fhir")
        # A server that sends a byte now and then, or a token service that hangs, keeps a request's thread for as long
        # as it likes: these are threads that nobody has to wait for.
        self._requests = ThreadPoolExecutor(2 * CONCURRENT_BUNDLES, thread_name_prefix="fhir-request")
        self._capabilities: Capabilities | None = None
        self._capabilities_due = 0.0
        self._capabilities_lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._pool.shutdown()
        self._requests.shutdown()
        self._http.close()

    def capabilities(self) -> Capabilities:
        """Read once an hour; while they cannot be read again, those that were read last hold.

        Raises FhirAccessDenied for a server that cannot be written to safely, and Unavailable when they were never read
        and cannot be read now.
        """
        with self._capabilities_lock:
            if self._capabilities is None or time.monotonic() > self._capabilities_due:
                self._capabilities = self._read_capabilities(self._capabilities)
            return self._capabilities

    def _read_capabilities(self, held: Capabilities | None) -> Capabilities:
        try:
            statement = self._metadata()
        except (FhirServerUnavailable, FhirAccessDenied):
            if held is None:
                raise
            self._capabilities_due = time.monotonic() + CAPABILITIES_RETRY_SECONDS
            return held
        capabilities = read_capabilities(statement)
        self._capabilities_due = time.monotonic() + CAPABILITIES_SECONDS
        return capabilities

    def _metadata(self) -> Resource:
        answer = self._send("GET", "metadata")
        if answer is not None and answer.status_code == 404:
            raise self._denied(404)
        statement = _fhir(answer) if answer is not None and answer.is_success else None
        if statement is not None:
            return statement
        asked = retry_after_seconds(answer.headers, datetime.now(UTC)) if answer is not None else None
        status = answer.status_code if answer is not None and not answer.is_success else 0
        raise self.unavailable(Reply(Interaction("GET", "metadata"), status, retry_after_seconds=asked))

    def exchange(self, interactions: Sequence[Interaction]) -> list[Reply]:
        """Sends the interactions in bundles, side by side, and returns a reply for each, in order.

        The interactions of one call may be carried out in any order. Nothing is sent twice, except after an answer that
        says that a bundle as a whole was not carried out (400, 413, 422): then its halves are sent, down to the one
        entry that was the reason. Raises Unavailable when there is no token, or the server's capabilities cannot be
        read or are not sufficient.
        """
        if not interactions:
            return []
        send = self._batch if self.capabilities().batch else self._one_by_one
        return [reply for replies in self._side_by_side(send, self._bundles(interactions)) for reply in replies]

    def _side_by_side(self, send: Callable[[Part], Answered], parts: Iterable[Part]) -> list[Answered]:
        """What `send` returns for each part, in order. Each runs in a copy of this context: it holds the deadline."""
        tasks = [self._pool.submit(copy_context().run, send, part) for part in parts]
        try:
            return [task.result() for task in tasks]
        finally:
            for task in tasks:
                task.cancel()

    def read(self, interactions: Sequence[Interaction], patience: Patience) -> list[Reply]:
        """Replies to GETs; those without an answer that settles them are sent again, as long as `patience` lasts.

        What stays unknown is returned as such: one resource that a server cannot return must not stop its neighbours.
        Raises FhirAccessDenied, and FhirServerUnavailable when the server as a whole is away.
        """
        replies = self.exchange(interactions)
        while True:
            denied = next((reply for reply in replies if reply.verdict is Verdict.DENIED), None)
            if denied:
                raise self.unavailable(denied)
            unknown = [index for index, reply in enumerate(replies) if reply.verdict is Verdict.UNKNOWN]
            if not unknown:
                return replies
            asked = max((replies[index].retry_after_seconds or 0.0 for index in unknown), default=0.0)
            if not patience.waits(OUTAGE_SECONDS, asked):
                if all(reply.away for reply in replies):
                    raise self.unavailable(replies[0])
                return replies
            again = self.exchange([interactions[index] for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply

    def follow(self, bundle: Resource) -> Iterator[Resource]:
        """The bundle of a search or a history, then its further pages (`link.next`), on the same host only.

        Raises FhirServerUnavailable when a page cannot be read or the pages have no end, FhirAccessDenied for a link to
        another host.
        """
        seen: set[str] = set()
        while True:
            yield bundle
            following = next(
                (each.get("url") for each in bundle.get("link") or [] if each.get("relation") == "next"), None
            )
            if not following:
                return
            try:
                url = httpx.URL(urljoin(f"{self._base}/", str(following)))
            except (httpx.InvalidURL, ValueError):
                raise FhirServerUnavailable(
                    "The FHIR server's link to its next page is not an address. Check the server's own base address in "
                    "its configuration, and that of a gateway before it."
                ) from None
            if _origin(url) != _origin(self._base):
                raise FhirAccessDenied(
                    f"The FHIR server's next page is at another host ({_origin(url)}), to which no token is sent. Set "
                    "FHIR_SERVICE_URL to the address that the server itself uses."
                )
            if str(url) in seen:
                raise FhirServerUnavailable(
                    "The FHIR server's pages go round in a circle: a next page is one that was read before. Check the "
                    "server, and a cache or gateway before it."
                )
            if len(seen) == MAX_PAGES:
                raise FhirServerUnavailable(
                    f"A search or history of the FHIR server has more than {MAX_PAGES} pages. Check that the server's "
                    "links to a next page come to an end, and let it return larger pages."
                )
            seen.add(str(url))
            reply = self._single(Interaction("GET", str(url)))
            if reply.verdict is not Verdict.DONE or reply.resource is None:
                raise self.unavailable(reply)
            bundle = reply.resource

    def search(self, resource_type: str, parameters: Sequence[dict[str, str]]) -> list[Resource]:
        """The matches of several searches, each read to its last page, side by side.

        By POST, which keeps identifiers out of addresses. Raises Unavailable.
        """

        def search_one(form: dict[str, str]) -> list[Resource]:
            reply = self._single(Interaction("POST", f"{resource_type}/_search"), form=form)
            if reply.verdict is not Verdict.DONE or reply.resource is None:
                raise self.unavailable(reply)
            return [resource for page in self.follow(reply.resource) for resource in matches(page)]

        return [resource for found in self._side_by_side(search_one, parameters) for resource in found]

    def unavailable(self, reply: Reply) -> FhirAccessDenied | FhirServerUnavailable | OutOfTime:
        """The error for a reply that settles nothing."""
        if reply.verdict is Verdict.DENIED:
            return self._denied(reply.status)
        if not reply.status and deadline.seconds_left() < SHORTEST_SECONDS:
            return OutOfTime("the FHIR server had answered everything")
        if reply.status:
            what = f"answered {reply.status}. It is tried again at the next flush; if this goes on, look into its state"
        else:
            what = (
                "gave no answer that can be understood. It is tried again at the next flush; if this goes on, check "
                "that it runs, that FHIR_SERVICE_URL is its address, and what lies between it and the app"
            )
        return FhirServerUnavailable(
            f"The FHIR server {what}.", retry_after_seconds=reply.retry_after_seconds, outcome=reply.outcome
        )

    def _denied(self, status: int) -> FhirAccessDenied:
        fix = {
            401: "It did not accept the token: check FHIR_AUDIENCE.",
            403: "Give the app's identity the role FHIR Data Contributor.",
            404: "FHIR_SERVICE_URL must be the base address of the FHIR service.",
        }.get(status, "FHIR_SERVICE_URL must be the base address of a FHIR R4 server that allows this.")
        return FhirAccessDenied(f"The FHIR server at {_origin(self._base)} answered {status}. {fix}")

    def _bundles(self, interactions: Iterable[Interaction]) -> Iterator[list[Interaction]]:
        bundle: list[Interaction] = []
        size = 0
        for interaction in interactions:
            length = len(interaction.body or b"") + len(interaction.url) + 100
            if bundle and (len(bundle) == self.bundle_size or size + length > MAX_BUNDLE_BYTES):
                yield bundle
                bundle, size = [], 0
            bundle.append(interaction)
            size += length
        if bundle:
            yield bundle

    def _batch(self, interactions: list[Interaction]) -> list[Reply]:
        entries = [interaction.entry() for interaction in interactions]
        body = orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries})
        outer = self._send("POST", "", content=body, headers={"x-bundle-processing-logic": "parallel"})
        if outer is None:
            return [Reply(interaction, 0, away=True) for interaction in interactions]
        asked = retry_after_seconds(outer.headers, datetime.now(UTC))
        resource = _fhir(outer)
        if outer.status_code == 200 and resource and resource.get("resourceType") == "Bundle":
            return match_entries(interactions, resource, asked)
        if outer.status_code == 413 or (outer.status_code in (400, 422) and resource):
            if len(interactions) == 1:
                return [Reply(interactions[0], outer.status_code, outcome=outcome_text(resource))]
            middle = len(interactions) // 2
            return self._batch(interactions[:middle]) + self._batch(interactions[middle:])
        if outer.status_code in (401, 403, 404, 405):
            # The 404 of an entry is an answer; the 404 of a whole batch means a wrong address.
            status = 405 if outer.status_code == 404 else outer.status_code
            return [Reply(interaction, status) for interaction in interactions]
        status = 0 if outer.is_success or outer.status_code in (400, 422) else outer.status_code
        return [Reply(interaction, status, retry_after_seconds=asked, away=True) for interaction in interactions]

    def _one_by_one(self, interactions: list[Interaction]) -> list[Reply]:
        return [self._single(interaction) for interaction in interactions]

    def _single(self, interaction: Interaction, form: dict[str, str] | None = None) -> Reply:
        method, url = interaction.method, interaction.url
        resource_type, _, query = url.partition("?")
        if method == "GET" and query and "/" not in resource_type and form is None:
            method, url, form = "POST", f"{resource_type}/_search", dict(httpx.QueryParams(query))
        answer = self._send(method, url, content=interaction.body, form=form, headers=interaction.headers())
        if answer is None:
            return Reply(interaction, 0, away=True)
        asked = retry_after_seconds(answer.headers, datetime.now(UTC))
        status, resource = answer.status_code, _fhir(answer)
        foreign = resource is None and bool(answer.content or method == "GET")
        if foreign and (answer.is_success or status in (400, 404, 410, 422)):
            return Reply(interaction, 0, retry_after_seconds=asked, away=True)
        found = version_from(resource, answer.headers.get("etag"), answer.headers.get("location"))
        outcome = outcome_text(resource) if status >= 300 else None
        return Reply(interaction, status, resource, found, outcome, asked, away=status in (429, 502, 503, 504))

    def _send(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        form: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response | None:
        """The answer, None when none was received before the deadline.

        `url` is relative to the base, or absolute on its host.
        """
        request = self._requests.submit(copy_context().run, self._request, method, url, content, form, headers)
        try:
            return request.result(min(deadline.seconds_left() + LATE_SECONDS, TIMEOUT_MAX))
        except TimeoutError:
            request.cancel()
            return None

    def _request(
        self, method: str, url: str, content: bytes | None, form: dict[str, str] | None, headers: dict[str, str] | None
    ) -> httpx.Response | None:
        # HAPI answers a search from its cache for a minute unless it is told not to.
        headers = {**(headers or {}), "X-Correlation-Id": str(uuid4()), "Cache-Control": "no-cache"}
        if content is not None:
            headers["Content-Type"] = FHIR_JSON
        if authorization := self.credentials.authorization():
            headers["Authorization"] = authorization
        address = url if url.startswith(f"{_origin(self._base)}/") else f"{self._base}/{url}".rstrip("/")
        left = deadline.seconds_left()
        if left < SHORTEST_SECONDS:
            return None
        timeout = {name: min(seconds or left, left) for name, seconds in self._http.timeout.as_dict().items()}
        try:
            return self._http.request(
                method, address, content=content, data=form, headers=headers, timeout=httpx.Timeout(**timeout)
            )
        except httpx.RequestError:
            return None


def matches(bundle: Resource) -> list[Resource]:
    """The resources on a page that match its search, without included resources and OperationOutcomes."""
    entries: list[Any] = bundle.get("entry") or []
    found = [each["resource"] for each in entries if (each.get("search") or {}).get("mode", "match") == "match"]
    return [resource for resource in found if resource.get("resourceType") != "OperationOutcome"]


def _fhir(answer: httpx.Response) -> Resource | None:
    """The resource in an answer, None for what is not FHIR (a gateway's page, a body that was cut off)."""
    try:
        resource = parse_resource(answer.content)
    except NotAResource:
        return None
    return resource if "resourceType" in resource else None


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


def _checked(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.strip().rstrip("/"))
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise SettingInvalid("FHIR_SERVICE_URL is not an address. Set it to the base of a FHIR R4 server, https://….")
    if url.scheme == "http" and not _is_this_machine(url.host):
        raise SettingInvalid(
            "FHIR_SERVICE_URL is plain http to another machine, so readings would travel unencrypted. Use https."
        )
    return url


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
