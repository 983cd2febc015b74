"""Messages that were put through both mappings: what the checks of messages look at."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

from medtech.dotnet.json_body import NotJson, parse_body
from medtech.evaluation_budget import EvaluationBudget
from medtech.jsonpath.path import walk
from medtech.mapping.content_template import ContentTemplate, Field, PropertyLookup
from medtech.mapping.device import DeviceMapping
from medtech.mapping.document import message_document
from medtech.mapping.expression import FAILED, MATCHED_TOKEN
from medtech.mapping.matching import MatchTooCostly
from medtech.model import DeviceEvent, Normalized
from medtech.validation.mapping_pair import MappingPair
from medtech.validation.nearest import KnownNames

FAILURE: Final = object()
"""What stands for a token where an expression failed: it may be there, so it does not count as absent."""


_STEPS: Final = 10_000_000
"""At most 3 s for all checks of all messages; 1,000 messages of ordinary mappings take 2 to 6 % of it."""
_MOST_NAMES: Final = 1000
_DOCUMENT_STEPS: Final = 50
_TOKEN_STEPS: Final = 5


class Match(NamedTuple):
    """A token that a template took: in which message, whose document it is, and the token."""

    message_index: int
    document: dict[str, Any]
    token: Any


class Trial:
    """`normalized` has what became of each event, by its number. `now` is in ticks.

    What looks into messages is charged to one budget, and raises BudgetSpent when that is spent: a check then has no
    further findings, since it cannot know.
    """

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
        self.budget = EvaluationBudget(_STEPS)

    @cached_property
    def documents(self) -> list[dict[str, Any] | None]:
        """The document of each message; None where the body is not JSON."""
        return [document_of(event) for event in self.events]

    @cached_property
    def matches(self) -> dict[int, list[Match]]:
        """The matches of each template, by its index, in the order of the messages. Raises BudgetSpent."""
        found: dict[int, list[Match]] = {template.index: [] for template in self.device.templates}
        for number, document in enumerate(self.documents):
            if document is None:
                continue
            self.budget.charge(_DOCUMENT_STEPS + len(self.events[number].body))
            try:
                matches = self.device.matcher.find(document, self.budget)
            except MatchTooCostly as spent:
                raise spent.cause from None
            for index, tokens in matches.items():
                if isinstance(tokens, list):
                    self.budget.charge(len(tokens))
                    found[index] += (Match(number, document, token) for token in tokens)
        return found

    @cached_property
    def property_names(self) -> KnownNames:
        """The names of the properties that the messages have, as many as can be compared. Raises BudgetSpent."""
        names: set[str] = {MATCHED_TOKEN}
        for document in self.documents:
            for token in walk(document):
                self.budget.charge(1)
                if isinstance(token, dict):
                    names.update(token)
            if len(names) > _MOST_NAMES:
                break
        return KnownNames(names)

    def tokens(self, template: ContentTemplate, field: Field) -> Iterator[tuple[Match, Any]]:
        """What a field finds in each match of its template; None where it finds nothing. Raises BudgetSpent."""
        for match in self.matches[template.index]:
            self.budget.charge(_TOKEN_STEPS)
            yield match, self._token(field, match)

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


def document_of(event: DeviceEvent) -> dict[str, Any] | None:
    """What a message is to the templates; None if its body is not JSON."""
    try:
        body = parse_body(event.body)
    except NotJson:
        return None
    return message_document(body, event.properties, event.system_properties)
