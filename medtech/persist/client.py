"""The FHIR server, over HTTP: interactions in batches, searches to their last page, and what an answer means.

Nothing here decides what becomes of data; a `Reply` for each interaction says what is known. What concerns the server
as a whole is raised: FhirAccessDenied when somebody must fix a setting, FhirServerUnavailable when it is away.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime
from functools import cache
from threading import TIMEOUT_MAX, Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urljoin
from uuid import uuid4

import httpx
import orjson

from medtech import __version__, deadline
from medtech.address import fault_in_base, in_the_clear
from medtech.errors import FhirAccessDenied, FhirServerUnavailable, OutOfTime, SettingInvalid
from medtech.filling import filled
from medtech.persist.answers import (
    REFUSALS,
    Interaction,
    Reply,
    Resource,
    Verdict,
    match_entries,
    outcome_text,
    replies_to_done,
    replies_to_reads,
    retry_after_seconds,
    version_from,
)
from medtech.persist.body import (
    ACCEPTED_ENCODING,
    MAX_ANSWER_BYTES,
    MAX_ANSWER_ELEMENTS,
    Answer,
    AnswerTooLarge,
    read_body,
)
from medtech.persist.capabilities import Capabilities, read_capabilities
from medtech.persist.credentials import Credentials, NoCredentials, credentials_of
from medtech.persist.patience import Patience
from medtech.persist.transport import client_for
from medtech.side_counts import THROTTLED_STATUSES, Throttled, count
from medtech.telemetry.span import Span, SpanKind, span
from medtech.transform.fhir_json import NotAResource, parse_resource

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

    from medtech.settings import Settings

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

NO_SEARCH_IN_BATCH = (400, 405, 501)
"""Google's Cloud Healthcare API takes "all interactions within a bundle, except search" and answers 400; others 501."""

MAX_UNPROVEN = 3
"""Single interactions of a refused bundle that are refused in turn, with nothing answered, until the rest is not sent.
Halving a hundred to the last one takes 199 requests, and a gateway that refuses them all would get these each time."""

TAKEN_SECONDS = 240.0
"""How long a write that was taken shows that a larger one was refused for its size. A flush takes no longer."""

MAX_PAGES = 1000
"""Of one search or history. A server that hands out links to a next page for ever would hold up its shard for good."""

_ENTRY_HOLDS = {"resource", "request", "response"}
_PARTS_OF_AN_ENTRY = _ENTRY_HOLDS | {"search"}

FHIR_JSON = "application/fhir+json"

_log = logging.getLogger(__name__)
Form = Mapping[str, str | list[str]]
"""What is sent as `application/x-www-form-urlencoded`; a list is a parameter that repeats."""

Part = TypeVar("Part")
Answered = TypeVar("Answered")


def quiet_http_logs() -> None:
    """httpx logs every URL at INFO and httpcore every header at DEBUG; these hold identifiers and tokens."""
    for name in ("httpx", "httpcore", "azure.core.pipeline.policies.http_logging_policy", "azure.identity"):
        logging.getLogger(name).setLevel(logging.WARNING)


class WriteWithheld(Exception):
    """A write that was to be sent while nothing may be written. A fault of the app: nobody should have asked for it."""


class FhirClient:
    """One per process; its methods may be called from several threads.

    `base_url` with or without a trailing slash. Raises SettingInvalid for what is not an http address, and for plain
    http to another machine, where anyone on the way could read health data: unless `allow_plain_http`, and never with
    credentials.

    With `reads_only` no write leaves the process, whoever asks for one: WriteWithheld is raised in its place.
    """

    def __init__(
        self,
        base_url: str,
        *,
        bundle_size: int = 100,
        credentials: Credentials | None = None,
        allow_plain_http: bool = False,
        reads_only: bool = False,
    ) -> None:
        quiet_http_logs()
        self._base = _checked(base_url)
        self.bundle_size = bundle_size
        self.reads_only = reads_only
        self.credentials = credentials or NoCredentials()
        if in_the_clear(self._base.scheme, self._base.host):
            _check_in_the_clear(self._base, self.credentials, allowed=allow_plain_http)
        self._http = client_for(
            self._base,
            CONCURRENT_BUNDLES,
            TIMEOUT,
            {"User-Agent": f"medtech/{__version__}", "Accept": FHIR_JSON, "Accept-Encoding": ACCEPTED_ENCODING},
        )
        self._pool = ThreadPoolExecutor(CONCURRENT_BUNDLES, thread_name_prefix="fhir")
        # A server that sends a byte now and then, or a token service that hangs, keeps a request's thread for as long
        # as it likes: these are threads that nobody has to wait for.
        self._requests = ThreadPoolExecutor(2 * CONCURRENT_BUNDLES, thread_name_prefix="fhir-request")
        self._capabilities: Capabilities | None = None
        self._capabilities_due = 0.0
        self._capabilities_lock = Lock()
        self._taken = _Taken()

    @classmethod
    def of(cls, settings: "Settings", credential: "Callable[[], TokenCredential] | None" = None) -> Self:
        """The client of the app with these settings; `credential` is its identity (see `EntraCredentials`).

        Raises SettingInvalid.
        """
        base = _checked(settings.fhir_service_url)
        local = base.scheme == "http" and not in_the_clear(base.scheme, base.host)
        return cls(
            settings.fhir_service_url,
            bundle_size=settings.fhir_bundle_size,
            credentials=credentials_of(settings, _origin(base), on_this_machine=local, credential=credential),
            allow_plain_http=settings.fhir_allow_plain_http,
            reads_only=settings.compares,
        )

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
        request = Interaction("GET", "metadata")
        try:
            answer = self._send(request.method, request.url)
        except AnswerTooLarge:
            raise self.unavailable(Reply(request, 0, too_large=True)) from None
        if answer is not None and answer.status_code == 404:
            raise self._denied(404)
        statement = _fhir(answer) if answer is not None and answer.is_success else None
        if statement is not None and statement["resourceType"] == "CapabilityStatement":
            return statement
        asked = retry_after_seconds(answer.headers, datetime.now(UTC)) if answer is not None else None
        status = answer.status_code if answer is not None and not answer.is_success else 0
        raise self.unavailable(Reply(request, status, retry_after_seconds=asked))

    def exchange(self, interactions: Sequence[Interaction]) -> list[Reply]:
        """Sends the interactions in bundles, side by side, and returns a reply for each, in order.

        The interactions of one call may be carried out in any order. Nothing is sent twice, except after an answer that
        says that a bundle as a whole was not carried out (400, 413, 422): then its halves are sent, down to the one
        entry that was the reason. Searches that the server refuses in batches are sent one by one, side by side, and
        from then on without a batch before, until its capabilities are read again.

        Only what was read before, with an answer, may be written: when a write is refused, it is taken for granted that
        the server can be reached. Raises Unavailable when there is no token, or the server's capabilities cannot be
        read or are not sufficient.
        """
        if not interactions:
            return []
        can = self.capabilities()
        if can.batch and can.search_in_batch:
            return self._in_batches(interactions)
        in_batch = [can.batch and not each.searches for each in interactions]
        batched = iter(
            self._in_batches([each for each, bundled in zip(interactions, in_batch, strict=True) if bundled])
        )
        single = iter(
            self._one_by_one([each for each, bundled in zip(interactions, in_batch, strict=True) if not bundled])
        )
        return [next(batched if bundled else single) for bundled in in_batch]

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
            verdicts = [reply.verdict for reply in replies]
            if Verdict.DENIED in verdicts:
                raise self.unavailable(replies[verdicts.index(Verdict.DENIED)])
            unknown = [index for index, verdict in enumerate(verdicts) if verdict is Verdict.UNKNOWN]
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

        A link that repeats the search's identifier is followed by POST, as the search was sent: patients' identifiers
        stay out of addresses, which servers and gateways log.

        Raises FhirServerUnavailable when a page cannot be read or the pages have no end, FhirAccessDenied for a link to
        another host.
        """
        seen: set[str] = set()
        while True:
            if not _is_page(bundle):
                raise FhirServerUnavailable(
                    "The FHIR server returned a page of a search or history that is not a Bundle of FHIR. Check the "
                    "server, and what lies between it and the app."
                )
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
            further, form = Interaction("GET", str(url)), None
            if "identifier" in url.params:
                # Wherever on this host it leads: a gateway may give the server another path than the server's own.
                searched = str(url.copy_with(userinfo=b"", query=None, fragment=None))
                further = Interaction("GET", searched.removesuffix("/_search"))
                form = _form(url.params)
            reply = self._single(further, form)
            if reply.verdict is not Verdict.DONE or reply.resource is None:
                raise self.unavailable(reply)
            bundle = reply.resource

    def search(self, resource_type: str, parameters: Sequence[dict[str, str]]) -> list[Resource]:
        """The matches of several searches, each read to its last page, side by side.

        By POST, which keeps identifiers out of addresses. Raises Unavailable.
        """

        def search_one(form: Form) -> list[Resource]:
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
        if reply.too_large:
            what = (
                f"sent an answer of more than {MAX_ANSWER_BYTES >> 20} MiB (uncompressed) or {MAX_ANSWER_ELEMENTS:,} "
                "JSON elements, which no resource has, so it was not read. It is tried again at the next flush; if "
                "this goes on, check what the server returns and what lies between it and the app, and lower "
                "FHIR_BUNDLE_SIZE if it is above 100"
            )
        elif reply.status in REFUSALS:
            what = (
                f"answered {reply.status} to a request that it should accept. It is tried again at the next flush; if "
                "this goes on, check the gateway or firewall in front of it, which may have answered in its place, and "
                "the server's own log"
            )
        elif reply.status >= 300:
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
            401: self.credentials.if_refused,
            403: self.credentials.if_forbidden,
            404: "FHIR_SERVICE_URL must be the base address of the FHIR service.",
        }.get(status, "FHIR_SERVICE_URL must be the base address of a FHIR R4 server that allows this.")
        return FhirAccessDenied(f"The FHIR server at {_origin(self._base)} answered {status}. {fix}")

    def _in_batches(self, interactions: Sequence[Interaction]) -> list[Reply]:
        bundles = filled(interactions, _entry_bytes, most=self.bundle_size, most_bytes=MAX_BUNDLE_BYTES)
        replies = [reply for found in self._side_by_side(self._batch, bundles) for reply in found]
        perhaps = [reply.interaction for reply in replies if reply.status in NO_SEARCH_IN_BATCH]
        refused = [interaction for interaction in perhaps if interaction.searches]
        if not refused or any(reply.verdict is Verdict.DONE for reply in replies if reply.interaction.searches):
            return replies
        # Not the first: the same one, if it is refused alone too, would hide each time what the server can do.
        if self._single(random.choice(refused)).verdict is not Verdict.DONE:
            return replies
        with self._capabilities_lock:
            if self._capabilities is not None:
                self._capabilities = self._capabilities._replace(search_in_batch=False)
        alone = iter(self._one_by_one(refused))
        return [
            next(alone) if reply.interaction.searches and reply.status in NO_SEARCH_IN_BATCH else reply
            for reply in replies
        ]

    def _batch(self, interactions: list[Interaction]) -> list[Reply]:
        """The replies, in order. A bundle that is refused as a whole is halved until the one is found that is why.

        So is a bundle of reads whose answer is too large; what a bundle of writes did is then read again.
        """
        replies = self._bundle(interactions)
        if not _to_be_halved(replies):
            return replies
        # Shuffled, so that the same few that are always refused do not stand before their neighbours each time.
        order = random.sample(range(len(interactions)), len(interactions))
        found: dict[int, Reply] = {}
        parts = _halves(order)
        while parts:
            part = parts.pop()
            replies = self._bundle([interactions[index] for index in part])
            if _to_be_halved(replies):
                parts += _halves(part)
                continue
            found.update(zip(part, replies, strict=True))
            if len(found) >= MAX_UNPROVEN and all(reply.unproven for reply in found.values()):
                rest = [index for part in parts for index in part]
                found |= {index: replies[0]._replace(interaction=interactions[index]) for index in rest}
                break
        return [found[index] for index in range(len(interactions))]

    def _bundle(self, interactions: Sequence[Interaction]) -> list[Reply]:
        with span("FHIR batch", SpanKind.CLIENT) as current:
            current.set(medtech__entries=len(interactions))
            current.set(medtech__writes=sum(each.writes for each in interactions))
            return self._answered(interactions, current)

    def _answered(self, interactions: Sequence[Interaction], current: Span) -> list[Reply]:
        entries = [interaction.entry() for interaction in interactions]
        body = orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries})
        try:
            outer = self._send("POST", "", content=body, headers={"x-bundle-processing-logic": "parallel"})
        except AnswerTooLarge:
            return [Reply(each, 0, unproven=not each.writes, too_large=True) for each in interactions]
        if outer is None:
            current.error = "unanswered"
            return [Reply(interaction, 0, away=True) for interaction in interactions]
        current.set(http__response__status_code=outer.status_code)
        if not outer.is_success:
            current.error = str(outer.status_code)
        asked = retry_after_seconds(outer.headers, datetime.now(UTC))
        if outer.status_code == 200:
            usual = replies_to_done if interactions[0].writes else replies_to_reads
            if (found := usual(interactions, outer.content, asked)) is not None:
                self._taken.remember(found)
                return found
        resource = _fhir(outer)
        if outer.status_code == 200 and resource and resource.get("resourceType") == "Bundle":
            replies = match_entries(interactions, resource, asked)
            for reply in replies:
                if reply.status in THROTTLED_STATUSES:
                    count(Throttled("fhir"))
            self._taken.remember(replies)
            return replies
        if outer.status_code in REFUSALS:
            alone = len(interactions) == 1
            return [self._refused(each, outer.status_code, resource, asked, alone=alone) for each in interactions]
        if outer.status_code in (401, 403, 404, 405):
            # The 404 of an entry is an answer; the 404 of a whole batch means a wrong address.
            status = 405 if outer.status_code == 404 else outer.status_code
            return [Reply(interaction, status) for interaction in interactions]
        status = 0 if outer.is_success else outer.status_code
        return [Reply(interaction, status, retry_after_seconds=asked, away=True) for interaction in interactions]

    def _refused(
        self, interaction: Interaction, status: int, resource: Resource | None, asked: float | None, *, alone: bool
    ) -> Reply:
        """The reply to one of the interactions of a request that was answered 400, 413 or 422 as a whole.

        It is a refusal if a write was `alone` and the server itself says so, or takes smaller ones and says that this
        is too large: that much a gateway may know too.
        """
        by_server = resource is not None and resource["resourceType"] == "OperationOutcome"
        too_large = status == 413 and self._taken.smaller_than(interaction)
        return Reply(
            interaction,
            status,
            outcome=outcome_text(resource),
            retry_after_seconds=asked,
            away=resource is None and not interaction.writes,
            unproven=not (alone and interaction.writes and (by_server or too_large)),
        )

    def _one_by_one(self, interactions: Sequence[Interaction]) -> list[Reply]:
        return self._side_by_side(self._single, interactions)

    def _single(self, interaction: Interaction, form: Form | None = None) -> Reply:
        method, url = interaction.method, interaction.url
        if interaction.searches and form is None:
            url, _, query = url.partition("?")
            form = _form(httpx.QueryParams(query))
        if form is not None and method == "GET":
            method, url = "POST", f"{url}/_search"
        try:
            answer = self._send(method, url, content=interaction.body, form=form, headers=interaction.headers())
        except AnswerTooLarge:
            return Reply(interaction, 0, too_large=True)
        if answer is None:
            return Reply(interaction, 0, away=True)
        asked = retry_after_seconds(answer.headers, datetime.now(UTC))
        status, resource = answer.status_code, _fhir(answer)
        if status in REFUSALS:
            return self._refused(interaction, status, resource, asked, alone=True)
        foreign = resource is None and bool(answer.content or method == "GET")
        if foreign and (answer.is_success or status in (404, 410)):
            return Reply(interaction, 0, retry_after_seconds=asked, away=True)
        found = version_from(resource, answer.headers.get("etag"), answer.headers.get("location"))
        if answer.is_success and interaction.body is not None and found is None:
            # A server says which version it wrote; a gateway that answers in its place knows of none.
            return Reply(interaction, 0, retry_after_seconds=asked, away=True)
        outcome = outcome_text(resource) if status >= 300 else None
        reply = Reply(interaction, status, resource, found, outcome, asked, away=status in (429, 502, 503, 504))
        self._taken.remember([reply])
        return reply

    def _send(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        form: Form | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer | None:
        """The answer, None when none was received before the deadline.

        `url` is relative to the base, or absolute on its host. Raises AnswerTooLarge, and Unavailable when there is no
        token.
        """
        if self.reads_only and not _only_reads(method, url, content):
            raise WriteWithheld("the FHIR client of FHIR_WRITE=compare was asked to send a write")
        request = self._requests.submit(copy_context().run, self._request, method, url, content, form, headers)
        try:
            return request.result(min(deadline.seconds_left() + LATE_SECONDS, TIMEOUT_MAX))
        except TimeoutError:
            request.cancel()
            return None

    def _request(
        self, method: str, url: str, content: bytes | None, form: Form | None, headers: dict[str, str] | None
    ) -> Answer | None:
        # HAPI answers a search from its cache for a minute unless it is told not to.
        headers = {**(headers or {}), "X-Correlation-Id": str(uuid4()), "Cache-Control": "no-cache"}
        if content is not None:
            headers["Content-Type"] = FHIR_JSON
        address: str | httpx.URL = self._base
        if url:
            address = url if url.startswith(f"{_origin(self._base)}/") else f"{self._base}/{url}".rstrip("/")
        authorization = self.credentials.authorization()
        answer = self._answer(method, address, content, form, headers, authorization)
        if (
            answer is None
            or answer.status_code != 401
            or not authorization
            or not self.credentials.renews(authorization)
        ):
            return answer
        # Nothing was carried out, so it may be sent again.
        return self._answer(method, address, content, form, headers, self.credentials.authorization())

    def _answer(
        self,
        method: str,
        address: str | httpx.URL,
        content: bytes | None,
        form: Form | None,
        headers: dict[str, str],
        authorization: str | None,
    ) -> Answer | None:
        if authorization is not None:
            headers = {**headers, "Authorization": authorization}
        left = deadline.seconds_left()
        if left < SHORTEST_SECONDS:
            return None
        timeout = {name: min(seconds or left, left) for name, seconds in self._http.timeout.as_dict().items()}
        try:
            with self._http.stream(
                method, address, content=content, data=form, headers=headers, timeout=httpx.Timeout(**timeout)
            ) as answer:
                body = read_body(answer)
        except httpx.RequestError:
            return None
        if answer.status_code in THROTTLED_STATUSES:
            count(Throttled("fhir"))
        return Answer(answer.status_code, answer.headers, body)


class _Taken:
    """The smallest write that the server took lately; safe to use from several threads."""

    def __init__(self) -> None:
        self._size = 0
        self._until = 0.0
        self._lock = Lock()

    def remember(self, replies: Iterable[Reply]) -> None:
        sizes = [
            len(reply.interaction.body)
            for reply in replies
            if reply.interaction.body is not None and reply.verdict is Verdict.DONE
        ]
        if not sizes:
            return
        now, smallest = time.monotonic(), min(sizes)
        with self._lock:
            if smallest <= self._size or now >= self._until:
                self._size, self._until = smallest, now + TAKEN_SECONDS

    def smaller_than(self, interaction: Interaction) -> bool:
        with self._lock:
            return time.monotonic() < self._until and self._size < len(interaction.body or b"")


def _only_reads(method: str, url: str, content: bytes | None) -> bool:
    """Whether a request changes nothing: a GET, a search, or a batch of GETs, by what is in it."""
    if method == "GET":
        return True
    if method != "POST":
        return False
    if content is None:
        return url.endswith("/_search")
    entries = orjson.loads(content).get("entry", [])
    return not url and all(entry["request"]["method"] == "GET" for entry in entries)


def _form(parameters: httpx.QueryParams) -> Form:
    return {name: parameters.get_list(name) for name in parameters}


def _entry_bytes(interaction: Interaction) -> int:
    return len(interaction.body or b"") + len(interaction.url) + 100


def _to_be_halved(replies: Sequence[Reply]) -> bool:
    """Whether a bundle was refused as a whole, or its answer is too large."""
    return len(replies) > 1 and all(reply.unproven for reply in replies)


def _halves(part: list[int]) -> list[list[int]]:
    middle = len(part) // 2
    return [part[middle:], part[:middle]]


def _is_page(resource: Resource) -> bool:
    """Whether it can be read as a page of a search or history (of FHIR's rules for Bundles, bdl-5 among them)."""
    entries, links = (resource.get(name) or [] for name in ("entry", "link"))
    return (
        resource.get("resourceType") == "Bundle"
        and all(isinstance(part, list) and all(isinstance(each, dict) for each in part) for part in (entries, links))
        and all(map(_is_entry, entries))
    )


def _is_entry(entry: Resource) -> bool:
    parts = {name: entry[name] for name in _PARTS_OF_AN_ENTRY if entry.get(name) is not None}
    return (
        not entry.keys().isdisjoint(_ENTRY_HOLDS)
        and all(isinstance(part, dict) for part in parts.values())
        and ("resource" not in parts or _is_named(parts["resource"]))
    )


def _is_named(resource: Resource) -> bool:
    """Whether it has a type and an id; an OperationOutcome, which a search may add, has none."""
    kind = resource.get("resourceType")
    return isinstance(kind, str) and (isinstance(resource.get("id"), str) or kind == "OperationOutcome")


def matches(bundle: Resource) -> list[Resource]:
    """The resources on a page that match its search, without included resources and OperationOutcomes."""
    entries: list[Any] = bundle.get("entry") or []
    found = [each.get("resource") for each in entries if (each.get("search") or {}).get("mode", "match") == "match"]
    return [resource for resource in found if resource and resource.get("resourceType") != "OperationOutcome"]


def _fhir(answer: Answer) -> Resource | None:
    """The resource in an answer, None for what is not FHIR (a gateway's page, a body that was cut off)."""
    try:
        resource = parse_resource(answer.content)
    except NotAResource:
        return None
    return resource if "resourceType" in resource else None


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


def _checked(base_url: str) -> httpx.URL:
    address = base_url.strip().rstrip("/")
    fault = fault_in_base(address)
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        fault = fault or "is not an address"
    if fault:
        raise SettingInvalid(f"FHIR_SERVICE_URL {fault}. It is the base of a FHIR R4 server, https://….")
    return url


def _check_in_the_clear(base: httpx.URL, credentials: Credentials, *, allowed: bool) -> None:
    """Raises SettingInvalid unless readings, and nothing but readings, may travel to `base` by plain http."""
    if not allowed:
        raise SettingInvalid(
            "FHIR_SERVICE_URL is plain http to another machine, so readings would travel unencrypted. Use https. If "
            "everybody on the way may read them, set FHIR_ALLOW_PLAIN_HTTP to true and FHIR_AUTHENTICATION to none."
        )
    if not isinstance(credentials, NoCredentials):
        raise SettingInvalid(
            "FHIR_SERVICE_URL is plain http to another machine, and passwords and tokens are not sent unencrypted, "
            "whatever FHIR_ALLOW_PLAIN_HTTP says. Use https, or set FHIR_AUTHENTICATION to none."
        )
    _tell_in_the_clear(_origin(base))


@cache
def _tell_in_the_clear(origin: str) -> None:
    """Once a process, in which flush and health have a client each."""
    _log.warning(
        "readings and identifiers travel unencrypted to %s: FHIR_SERVICE_URL is plain http to another machine, and "
        "FHIR_ALLOW_PLAIN_HTTP allows it",
        origin,
    )
