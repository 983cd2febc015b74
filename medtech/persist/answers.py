"""What is asked of the FHIR server and what it answered, entry by entry.

An `Interaction` is sent as an entry of a batch or, to a server without batch, on its own. Either way there is a `Reply`
to it, whose `verdict` says what becomes of the data (DESIGN "Answers"):

    DONE      2xx, and to a read what was asked for
    ABSENT    404 or 410 of something that was read
    CONFLICT  304, 409, 412, 400 that asks for If-Match, 404 or 410 of an update: read again, merge again
    REFUSED   400, 413, 422 of a write: this resource will never be taken; a dead letter with the OperationOutcome
    DENIED    401, 403, 405, 404 of a create: somebody has to fix a setting; data stays
    UNKNOWN   everything else, and no answer at all; carried out or not: wait, read again, never resend blindly

Only an entry of a batch response is certainly about its interaction. A 400, 413 or 422 to a request as a whole may come
from a gateway: to a read it is an outage, and so it is to a write unless something proves otherwise (`unproven`).
A 304, 409, 410 or 412 to a bundle as a whole says nothing of its entries (`away`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import orjson

from medtech.transform.fhir_json import dump_resource

Resource = dict[str, Any]

MAX_OUTCOME_CHARACTERS = 8_000
"""A dead letter shares its table entity (64 KiB a property) with the message."""

REFUSALS = (400, 413, 422)

_ABSENCES = (404, 410)

_TARGET = re.compile(r"[A-Za-z]+/[A-Za-z0-9.-]{1,64}(?:/_history)?")
_LOCATION = re.compile(r"([A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64})(?:/_history/[^/]+)?$")
_STATUS = re.compile(r"\s*(\d{3})\b")
_STATUS_CHARACTERS = 64
_WAIT = re.compile(r"[0-9]{1,15}")
"""Digits of ASCII: a header may hold others (`²`), which are no number."""


class Verdict(Enum):
    DONE = auto()
    ABSENT = auto()
    CONFLICT = auto()
    REFUSED = auto()
    DENIED = auto()
    UNKNOWN = auto()


class Interaction(NamedTuple):
    """One RESTful interaction: `url` is relative to the base, `body` a resource as JSON text.

    `if_match` is a version id; `if_none_match` stands for `If-None-Match: *`.
    """

    method: str
    url: str
    body: bytes | None = None
    if_match: str | None = None
    if_none_match: bool = False

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def searches(self) -> bool:
        return self.method == "GET" and "?" in self.url and "/" not in self.url.partition("?")[0]

    @property
    def target(self) -> str | None:
        """`Type/id` or `Type/id/_history` if the interaction is about exactly one resource."""
        return self.url if _TARGET.fullmatch(self.url) else None

    def entry(self) -> dict[str, Any]:
        """The entry of a batch bundle."""
        request: dict[str, Any] = {"method": self.method, "url": self.url}
        if self.if_match is not None:
            request["ifMatch"] = f'W/"{self.if_match}"'
        if self.if_none_match:
            request["ifNoneMatch"] = "*"
        entry: dict[str, Any] = {"request": request}
        if self.body is not None:
            entry["resource"] = orjson.Fragment(self.body)
        return entry

    def headers(self) -> dict[str, str]:
        """The same conditions as headers of a single request."""
        headers = {}
        if self.if_match is not None:
            headers["If-Match"] = f'W/"{self.if_match}"'
        if self.if_none_match:
            headers["If-None-Match"] = "*"
        return headers


class Reply(NamedTuple):
    """The answer to one interaction. `status` is 0 when there was none, or none that certainly belongs to it.

    `outcome` is what the server said about an error, as text; `retry_after_seconds` how long it asked to wait, if it
    did. `away`: it says nothing about this interaction, but that the server as a whole cannot be reached. `unproven`:
    it is the answer to a request as a whole, and this interaction need not be what it is about. `too_large`: the answer
    was not read to its end.
    """

    interaction: Interaction
    status: int
    resource: Resource | None = None
    version: str | None = None
    outcome: str | None = None
    retry_after_seconds: float | None = None
    away: bool = False
    unproven: bool = False
    too_large: bool = False

    @property
    def verdict(self) -> Verdict:
        status = self.status
        writes = self.interaction.writes
        if 200 <= status < 300:
            return Verdict.DONE if writes or self._is_what_was_asked_for else Verdict.UNKNOWN
        if self.away:
            return Verdict.UNKNOWN
        if status in _ABSENCES:
            if not writes:
                return Verdict.ABSENT
            creates = self.interaction.if_match is None
            return Verdict.DENIED if creates and status == 404 else Verdict.CONFLICT
        if writes and (status in (304, 409, 412) or (status == 400 and self._asks_for_if_match)):
            return Verdict.CONFLICT
        if status in REFUSALS:
            return Verdict.REFUSED if writes and not self.unproven else Verdict.UNKNOWN
        if status in (401, 403, 405):
            return Verdict.DENIED
        return Verdict.UNKNOWN

    @property
    def _is_what_was_asked_for(self) -> bool:
        """Anything else, taken for an empty page or a history without versions, would look like data that is gone."""
        if self.resource is None:
            return False
        target = self.interaction.target
        wanted = "Bundle" if target is None or target.endswith("/_history") else target.partition("/")[0]
        return self.resource.get("resourceType") == wanted

    @property
    def _asks_for_if_match(self) -> bool:
        return re.search(r"if-?\s?match", self.outcome or "", re.IGNORECASE) is not None


class _Done(Reply):
    """A reply of which it is known that it is DONE: judged once, and asked for its verdict by everyone who gets it."""

    __slots__ = ()

    @property
    def verdict(self) -> Verdict:
        return Verdict.DONE


def has_predecessor(reply: Reply) -> bool:
    """Whether a create went over another version: it was answered 200, or its version is a number above 1."""
    counted = (reply.version or "").isdigit()
    past_first = reply.status != 201 or (counted and int(reply.version or "1") > 1)
    return reply.interaction.if_none_match and past_first


def may_be_under_way(reply: Reply) -> bool:
    """Whether the interaction may be carried out after its reply: somebody between here and the server has it in hand.

    Who throttles (429), or refuses a request as a whole, has turned it away.
    """
    return reply.verdict is Verdict.UNKNOWN and reply.status not in (429, *REFUSALS)


def outcome_text(resource: Any) -> str | None:
    """An OperationOutcome (or what was sent in its place) as text, cut to what a dead letter holds."""
    if resource is None:
        return None
    try:
        return dump_resource(resource).decode()[:MAX_OUTCOME_CHARACTERS]
    except TypeError:
        return None  # nested hundreds deep: no outcome that anybody could read


def version_from(resource: Resource | None, etag: str | None, location: str | None) -> str | None:
    """The version id: from the resource, else the etag (`W/"2"`, `"2"`, `2`), else the location. It is opaque."""
    version = _object(_object(resource).get("meta")).get("versionId")
    if version:
        return str(version)
    if etag:
        return str(etag).strip().removeprefix("W/").removeprefix('"').removesuffix('"') or None
    found = re.search(r"/_history/([^/?]+)", str(location or ""))
    return found.group(1) if found else None


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Of `Retry-After` in its two forms, seconds or an HTTP date, or of `x-ms-retry-after-ms`; None without either, or
    for what is neither."""
    milliseconds = headers.get("x-ms-retry-after-ms", "").strip()
    if _WAIT.fullmatch(milliseconds):
        return int(milliseconds) / 1000
    text = headers.get("retry-after", "").strip()
    if _WAIT.fullmatch(text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())


def match_entries(
    interactions: Sequence[Interaction], bundle: Resource, retry_after_seconds: float | None
) -> list[Reply]:
    """The replies of a batch response, in the order of the interactions.

    They are matched by position only if the counts agree and no entry names another resource than its interaction;
    otherwise only entries that name their resource count, and the other replies are unknown.
    """
    entries = _objects(bundle.get("entry"))
    targets = [_entry_target(entry) for entry in entries]
    in_order = len(entries) == len(interactions) and all(
        found is None or found == interaction.url or interaction.target is None
        for interaction, found in zip(interactions, targets, strict=True)
    )
    if in_order:
        return [_reply(*pair, retry_after_seconds) for pair in zip(interactions, entries, strict=True)]
    by_target = {target: entry for target, entry in zip(targets, entries, strict=True) if target}
    return [
        _reply(interaction, by_target.get(interaction.target or "", {}), retry_after_seconds)
        for interaction in interactions
    ]


class _Meta(msgspec.Struct, gc=False, rename="camel"):
    version_id: str | None = None


class _Written(msgspec.Struct, gc=False, rename="camel"):
    """Of the resource as it was stored, what says which one it is."""

    resource_type: str | None = None
    id: str | None = None
    meta: _Meta | None = None


class _Response(msgspec.Struct, gc=False, rename="camel"):
    status: str = ""
    etag: str | None = None
    location: str | None = None


class _WrittenEntry(msgspec.Struct, gc=False):
    response: _Response
    resource: _Written | None = None


class _FoundEntry(msgspec.Struct):
    response: _Response
    resource: dict[str, Any] | None = None


Entry = TypeVar("Entry")


class _Bundle(msgspec.Struct, Generic[Entry], rename="camel"):
    resource_type: str
    entry: list[Entry]


_decode_written: Callable[[bytes], _Bundle[_WrittenEntry]] = msgspec.json.Decoder(_Bundle[_WrittenEntry]).decode
_decode_found: Callable[[bytes], _Bundle[_FoundEntry]] = msgspec.json.Decoder(
    _Bundle[_FoundEntry], float_hook=Decimal
).decode

_NOTHING = _Written()
_NO_TARGETS = (None, "OperationOutcome", "Bundle")


def replies_to_done(
    interactions: Sequence[Interaction], answer: bytes, retry_after_seconds: float | None
) -> list[Reply] | None:
    """The replies to writes that were all carried out, in order, without the resources as the server has them now.

    They are half of what a flush receives, and nothing is asked of them but the version. None for any other answer,
    and for one in another form: that is for `match_entries`, whose replies these are but for `resource`.
    """
    bundle = _decoded(_decode_written, answer, len(interactions))
    if bundle is None:
        return None
    replies: list[Reply] = []
    for interaction, entry in zip(interactions, bundle.entry, strict=True):
        response, resource = entry.response, entry.resource or _NOTHING
        status = _status(response.status[:_STATUS_CHARACTERS])
        if not 200 <= status < 300 or not interaction.writes:
            return None
        if not _in_place(interaction, resource.resource_type, resource.id, response.location):
            return None
        version = resource.meta.version_id if resource.meta is not None else None
        version = version or version_from(None, response.etag, response.location)
        replies.append(_Done(interaction, status, None, version, None, retry_after_seconds))
    return replies


def replies_to_reads(
    interactions: Sequence[Interaction], answer: bytes, retry_after_seconds: float | None
) -> list[Reply] | None:
    """The replies to reads of resources of which each is there or absent, in order, as `match_entries` has them.

    None for any other answer: this is what a flush receives again and again, without what others may say.
    """
    url = interactions[0].url
    others = "?" in url or url.endswith("/_history")
    bundle = None if others else _decoded(_decode_found, answer, len(interactions))
    if bundle is None:
        return None
    replies: list[Reply] = []
    for interaction, entry in zip(interactions, bundle.entry, strict=True):
        response, resource = entry.response, entry.resource or {}
        status, kind = _status(response.status[:_STATUS_CHARACTERS]), resource.get("resourceType")
        if not (200 <= status < 300 or status in _ABSENCES) or interaction.writes or kind == "Bundle":
            return None
        if not _in_place(interaction, kind, resource.get("id"), response.location):
            return None
        version = version_from(resource, response.etag, response.location)
        # With an id it is named, and in its place: what was asked for.
        reply = _Done if status < 300 and resource.get("id") and kind not in _NO_TARGETS else Reply
        replies.append(reply(interaction, status, resource or None, version, None, retry_after_seconds))
    return replies


def _decoded(decode: Callable[[bytes], _Bundle[Entry]], answer: bytes, entries: int) -> _Bundle[Entry] | None:
    """A batch response of so many entries; None for what is none, or not as its types say."""
    try:
        bundle = decode(answer)
    except (msgspec.DecodeError, ValueError, TypeError, ArithmeticError, RecursionError):
        return None
    return bundle if bundle.resource_type == "Bundle" and len(bundle.entry) == entries else None


def _in_place(interaction: Interaction, resource_type: Any, resource_id: Any, location: str | None) -> bool:
    """Whether an entry names its interaction's resource, or none (see `_entry_target`)."""
    if resource_id and resource_type not in _NO_TARGETS:
        return f"{resource_type}/{resource_id}" == interaction.url
    found = _LOCATION.search(location) if location else None
    return found is None or found[1] == interaction.url


def _object(value: Any) -> Resource:
    """The JSON object that belongs there, an empty one in place of anything else: a gateway may have answered."""
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Resource]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _entry_target(entry: Resource) -> str | None:
    resource = _object(entry.get("resource"))
    suffix = ""
    if resource.get("type") == "history":
        versions = (_object(each.get("resource")) for each in _objects(resource.get("entry")))
        resource = next((version for version in versions if version), {})
        suffix = "/_history"
    if resource.get("id") and resource.get("resourceType") not in _NO_TARGETS:
        return f"{resource['resourceType']}/{resource['id']}{suffix}"
    location = _object(entry.get("response")).get("location")
    found = _LOCATION.search(str(location)) if location else None
    return found.group(1) if found else None


@lru_cache
def _status(text: str) -> int:
    """The code of an HTTP status line, 0 for what is none. A bundle has a few of them, over and over."""
    found = _STATUS.match(text)
    return int(found.group(1)) if found else 0


def _reply(interaction: Interaction, entry: Resource, retry_after_seconds: float | None) -> Reply:
    response = _object(entry.get("response"))
    code = _status(str(response.get("status", ""))[:_STATUS_CHARACTERS])
    if not code:
        return Reply(interaction, 0, retry_after_seconds=retry_after_seconds)
    resource = _object(entry.get("resource")) or None
    absent = code in _ABSENCES and not interaction.writes
    return Reply(
        interaction,
        code,
        resource,
        version_from(resource, response.get("etag"), response.get("location")),
        # Half of the entries of a flush say, at length, that an Observation is not there yet.
        outcome_text(response.get("outcome") or resource) if code >= 300 and not absent else None,
        retry_after_seconds,
    )
