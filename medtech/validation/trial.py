"""Messages that were put through both mappings: what the checks of messages look at."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

from medtech.dotnet.json_body import NotJson, parse_body
from medtech.evaluation_budget import BudgetSpent, EvaluationBudget
from medtech.mapping.allowance import MOST_STEPS
from medtech.mapping.content_template import ContentTemplate, Field, PropertyLookup
from medtech.mapping.device import DeviceMapping
from medtech.mapping.document import message_document
from medtech.mapping.expression import FAILED
from medtech.mapping.matching import MatchTooCostly
from medtech.model import DeviceEvent, Normalized
from medtech.validation.mapping_pair import MappingPair

FAILURE: Final = object()
"""What stands for a token where an expression failed: it may be there, so it does not count as absent."""


class Match(NamedTuple):
    """A token that a template took: in which message, whose document it is, and the token."""

    message_index: int
    document: dict[str, Any]
    token: Any


class Trial:
    """`normalized` has what became of each event, by its number. `now` is in ticks."""

    def __init__(
        self,
        pair: MappingPair,
        device: DeviceMapping,
        events: Sequence[DeviceEvent],
        normalized: Sequence[Normalized],
        now: int,
    ) -> None:
        self.pair = pair
        self.device = device
        self.events = events
        self.normalized = normalized
        self.now = now
        self.budget = EvaluationBudget(MOST_STEPS)
        """What the checks may take on all messages together: their findings are worth no more."""

    @cached_property
    def documents(self) -> list[dict[str, Any] | None]:
        """The document of each message; None where the body is not JSON."""
        return [_document(event) for event in self.events]

    @cached_property
    def matches(self) -> dict[int, list[Match]]:
        """The matches of each template, by its index, in the order of the messages."""
        found: dict[int, list[Match]] = {template.index: [] for template in self.device.templates}
        for number, document in enumerate(self.documents):
            if document is None:
                continue
            budget = EvaluationBudget(self.device.allowed_steps(len(self.events[number].body)))
            try:
                matches = self.device.matcher.find(document, budget)
            except MatchTooCostly:
                continue
            for index, tokens in matches.items():
                if isinstance(tokens, list):
                    found[index] += (Match(number, document, token) for token in tokens)
        return found

    def tokens(self, template: ContentTemplate, field: Field) -> Iterator[tuple[Match, Any]]:
        """What a field finds in each match of its template; None where it finds nothing.

        Ends early when the budget of the checks is spent.
        """
        for match in self.matches[template.index]:
            try:
                self.budget.charge(1)
                yield match, self._token(field, match)
            except BudgetSpent:
                return

    def _token(self, field: Field, match: Match) -> Any:
        source = field.source
        if not isinstance(source, PropertyLookup):
            self.budget.charge(source.weight)
            try:
                return source.evaluate(match.document, match.token, self.budget)
            except FAILED:
                return FAILURE
        token = match.token if source.from_match else match.document
        for name in source.names:
            token = token.get(name) if isinstance(token, dict) else None
        return token


def _document(event: DeviceEvent) -> dict[str, Any] | None:
    try:
        body = parse_body(event.body)
    except NotJson:
        return None
    return message_document(body, event.properties, event.system_properties)
