"""Readings that another writer overwrote, taken back from an Observation's history.

Two writers that create the same Observation at once may both succeed on a server that does not honour If-None-Match:
the later one then holds only its own readings, and the earlier one's are in a version before it.
"""

from collections.abc import Iterable
from decimal import Decimal
from itertools import zip_longest
from typing import Any, NamedTuple, TypeGuard

from medtech.dotnet.ticks import TICKS_PER_MILLISECOND
from medtech.persist.answers import Reply, Resource, version_from
from medtech.persist.client import FhirClient
from medtech.transform.effective import StoredPeriod, read_effective
from medtech.transform.identifier import SYSTEM
from medtech.transform.merge import WITHDRAWN
from medtech.transform.sampled_data import NO_SAMPLE, Layout, lay_out_anew


def read_earlier(client: FhirClient, reply: Reply, version: str | None) -> list[Resource]:
    """What was stored besides `version`, from the reply to `GET …/_history`, back to the creation or last deletion.

    Newest first, as far as a server tells: of versions of one millisecond HAPI may give the older one first, so that
    which one is current has to come from a read. Raises Unavailable when a further page cannot be read.
    """
    earlier: list[Resource] = []
    for page in client.follow(reply.resource or {}):
        for entry in page.get("entry") or []:
            resource = entry.get("resource")
            if resource is None or (entry.get("request") or {}).get("method") == "DELETE":
                return earlier
            if version_from(resource, (entry.get("response") or {}).get("etag"), None) != version:
                earlier.append(resource)
    return earlier


def absorb(current: Resource, earlier: Iterable[Resource]) -> Resource:
    """`current` with what only its earlier versions hold: data points, components, a wider period.

    What `current` says stands; gives `current` itself when there is nothing to take back. Raises ConversionError for
    an Observation whose period cannot be read, PeriodTooLong.
    """
    for version in earlier:
        if version.get("status") not in WITHDRAWN:
            current = _absorb(current, version)
    return current


def _absorb(current: Resource, earlier: Resource) -> Resource:
    where = f"Observation/{current.get('id')}"
    now, before = read_effective(current, where), read_effective(earlier, where)
    if now.start is None or now.covered is None or before.start is None or before.covered is None:
        return current
    union = _Union(now.start, before.start, min(now.start, before.start), max(now.covered, before.covered))
    result = union.element(current, earlier)
    others: list[Resource] = list(earlier.get("component") or [])
    components = []
    for component in current.get("component") or []:
        same = next((each for each in others if _codes(component) & _codes(each)), {})
        others = [each for each in others if each is not same]
        components.append(union.element(component, same))
    components += [union.element({}, each) for each in others]
    if components:
        result["component"] = components
    has_series = any(_is_series(value) for element in (result, *components) for value in element.values())
    result = _with_both_times(result, earlier, now, before, has_series=has_series)
    return current if result == current else result


class _Union(NamedTuple):
    """The starts of the two versions, and from when to when both together last; in ticks, `end` inclusive."""

    now: int
    before: int
    start: int
    end: int

    def element(self, current: Resource, earlier: Resource) -> Resource:
        """An Observation or component: the current one's value if it has any, else the earlier one's."""
        mine, theirs = _value_name(current), _value_name(earlier)
        if mine is not None:
            value = current[mine]
            old = earlier.get(mine)
            if _is_series(value):
                old = old if _is_series(old) and _same_scale(value, old) else None
                value = self._series(value, self.now, old)
            return {**current, mine: value}
        if theirs is None:
            return dict(current)
        value = earlier[theirs]
        if _is_series(value):
            value = self._series(value, self.before, None)
        kept = {name: each for name, each in current.items() if name != "dataAbsentReason"}
        return {**(kept or earlier), theirs: value}

    def _series(self, series: Resource, start: int, old: Resource | None) -> Resource:
        """The series laid out from the common start, with the data points of `old` where it has none."""
        period = _period_ticks(series)
        layout = Layout(self.start, self.end, period)
        if old is None and start == self.start:
            return series
        points = lay_out_anew(series.get("data") or "", 1, start, period, layout).split()
        if old is not None:
            olds = lay_out_anew(old.get("data") or "", 1, self.before, _period_ticks(old), layout).split()
            pairs = zip_longest(points, olds, fillvalue=NO_SAMPLE)
            points = [before if point == NO_SAMPLE else point for point, before in pairs]
        data = " ".join(points)
        return series if data == series.get("data") else {**series, "data": data}


def _with_both_times(
    result: Resource, earlier: Resource, now: StoredPeriod, before: StoredPeriod, *, has_series: bool
) -> Resource:
    """`result` with the time of both versions: each end in the words of the version that reaches further.

    One time instead of a period stays, as that of the later reading, unless a series needs a start to count from.
    """
    (name, start, end), (_, other_start, other_end) = _times(result), _times(earlier)
    if (before.start or 0) < (now.start or 0):
        start = other_start
    if (before.covered or 0) > (now.covered or 0):
        end = other_end
    if name != "effectivePeriod" and (start == end or not has_series):
        return {**result, name: end}
    kept = {each: value for each, value in result.items() if each.lstrip("_") != name}
    return {**kept, "effectivePeriod": {**(result.get("effectivePeriod") or {}), "start": start, "end": end}}


def _times(version: Resource) -> tuple[str, Any, Any]:
    """(property, start, end) of a version that has a period or one time."""
    period = version.get("effectivePeriod")
    if period is not None:
        return "effectivePeriod", period.get("start"), period.get("end")
    name = next(each for each in ("effectiveDateTime", "effectiveInstant") if version.get(each) is not None)
    return name, version[name], version[name]


def _is_series(value: Any) -> TypeGuard[Resource]:
    return isinstance(value, dict) and value.get("dimensions") == 1 and bool(value.get("period"))


def _same_scale(series: Resource, other: Resource) -> bool:
    return all(series.get(name) == other.get(name) for name in ("origin", "factor"))


def _period_ticks(series: Resource) -> int:
    return int(Decimal(series["period"]) * TICKS_PER_MILLISECOND)


def _value_name(element: Resource) -> str | None:
    return next((name for name in element if name.startswith("value")), None)


def _codes(component: Resource) -> set[tuple[str | None, str | None]]:
    """The names of its value, in the service's system; without one, all its codings."""
    coding = [(each.get("system"), each.get("code")) for each in (component.get("code") or {}).get("coding") or []]
    return {each for each in coding if each[0] == SYSTEM} or set(coding)
