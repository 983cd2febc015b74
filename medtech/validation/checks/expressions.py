"""Expressions that find nothing in any of the messages, and which part of them it is that finds nothing."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from medtech.evaluation_budget import EvaluationBudget
from medtech.jmespath.chain import Member, chain
from medtech.jmespath.syntax import parse
from medtech.jsonpath.path import Path
from medtech.jsonpath.syntax import (
    Combination,
    Comparison,
    Condition,
    Exists,
    Filter,
    Query,
    Step,
    parse_path,
    steps_text,
)
from medtech.jsonpath.syntax import Name as NameStep
from medtech.mapping.content_template import ContentTemplate, Origin
from medtech.mapping.expression import MATCHED_TOKEN
from medtech.validation.finding import Finding, Fix, Name, warning
from medtech.validation.fixes import write_instead
from medtech.validation.nearest import did_you_mean
from medtech.validation.trial import Trial

_MOST_LOOKED_AT: Final = 1000
"""Matches, or messages, in which the part is looked for: what none of so many has is not there."""

_ROOT_STEPS: Final = 5


class _Miss(NamedTuple):
    """The part of an expression that finds nothing, and the property name that is missing, if it is one."""

    part: str
    name: str | None


def of_templates(trial: Trial) -> Iterator[Finding]:
    """A template that took nothing from any message.

    A few messages need not be for every template. So one is reported where a message was left over, where there are as
    many messages as templates, or where a property is named much like the one it asks for.
    """
    documents = [each for each in trial.documents if each is not None]
    if not documents or any(map(_is_costly, trial.normalized)):
        return
    left_over = any(not each.measurements and not each.failures for each in trial.normalized)
    expected = left_over or len(documents) >= len(trial.device.templates)
    # Where the expression failed on a message, there is an error already.
    failed = {each.template for normalized in trial.normalized for each in normalized.failures if each.match < 0}
    roots = documents[:_MOST_LOOKED_AT]
    for template in trial.device.templates:
        if trial.matches[template.index] or template.index in failed:
            continue
        for finding in _finding(trial, template.type_match, roots, template):
            if expected or finding.fix is not None:
                yield finding


def of_fields(trial: Trial) -> Iterator[Finding]:
    """An expression that finds nothing in any match of its template."""
    for template in trial.device.templates:
        if not trial.matches[template.index]:
            continue
        for field in template.fields:
            if len(template.time) > 1 and field in template.time:
                continue  # where the first gives no time, the second does
            found = False
            looked_at: list[Any] = []
            for match, token in trial.tokens(template, field):
                if token is not None:
                    found = True
                    break
                if len(looked_at) < _MOST_LOOKED_AT:
                    on_document = template.on_document
                    looked_at.append({**match.document, MATCHED_TOKEN: match.token} if on_document else match.token)
            if not found and looked_at:
                # What is optional may well be absent from a few messages, so a slip of the pen must be likely.
                for finding in _finding(trial, field.origin, looked_at, template):
                    if field.required or finding.fix is not None:
                        yield finding


def _finding(trial: Trial, origin: Origin, roots: list[Any], template: ContentTemplate) -> Iterator[Finding]:
    """At most one finding."""
    look = _miss_of_jmespath if origin.language == "JmesPath" else _miss_of_jsonpath
    miss = look(origin.expression, roots, trial.budget)
    if miss is None:
        return
    near = None if miss.name is None else trial.property_names.nearest(miss.name)
    of = "message" if origin.name == "typeMatchExpression" else "match of its template"
    where = "" if miss.part == origin.expression else f": the part {miss.part} has nothing to find"
    yield warning(
        Name.EXPRESSION_NEVER_MATCHES,
        f"Template {template.index} ('{template.type}'), '{origin.name}': {origin.expression} finds nothing in any "
        f"{of} ({len(roots)} looked at){where}. Fix the expression, or try messages that it is for."
        f"{did_you_mean(near)}",
        trial.pair.place_of(origin),
        None if near is None or miss.name is None else _renamed(trial, origin, miss, near),
        seen_count=len(roots),
    )


def _renamed(trial: Trial, origin: Origin, miss: _Miss, near: str) -> Fix | None:
    """The expression with the similar name, if the missing one stands in it once."""
    written = trial.pair.written_device
    node = written.at(origin.pointer)
    if node is None or node.value != origin.expression or not near.isidentifier():
        return None
    renamed, times = re.subn(rf"(?<!\w){re.escape(miss.name or '')}(?!\w)", near, origin.expression)
    return write_instead(written, node, renamed) if times == 1 else None


def _miss_of_jsonpath(expression: str, roots: list[Any], budget: EvaluationBudget) -> _Miss | None:
    steps = parse_path(expression)
    for length in range(1, len(steps) + 1):
        if _finds(steps[:length], roots, budget):
            continue
        step = steps[length - 1]
        if isinstance(step, NameStep):
            return _Miss(steps_text(steps[:length]), step.name)
        if isinstance(step, Filter):
            condition = _never_true(step, steps[: length - 1], roots, budget)
            return _Miss(f"[?({condition})]", _missing_name(condition, steps[: length - 1], step.deep, roots, budget))
        return _Miss(steps_text(steps[:length]), None)
    return None


def _finds(steps: tuple[Step, ...], roots: Iterable[Any], budget: EvaluationBudget) -> bool:
    path = Path(steps)
    for root in roots:
        budget.charge(_ROOT_STEPS + path.weight)
        if path.find(root, None, budget):
            return True
    return False


def _never_true(step: Filter, before: tuple[Step, ...], roots: list[Any], budget: EvaluationBudget) -> Condition:
    """The first of the conditions that must all hold and never does; the whole one where each holds somewhere."""
    condition = step.condition
    if isinstance(condition, Combination) and condition.operator == "&&":
        for each in condition.conditions:
            if not _finds((*before, Filter(each, step.deep)), roots, budget):
                return each
    return condition


def _missing_name(
    condition: Condition, before: tuple[Step, ...], deep: bool, roots: list[Any], budget: EvaluationBudget
) -> str | None:
    """The property that a condition asks for and nothing has."""
    query = condition.side if isinstance(condition, Exists) else None
    if isinstance(condition, Comparison):
        query = next((side for side in (condition.left, condition.right) if isinstance(side, Query)), None)
    if not isinstance(query, Query) or query.from_root:
        return None
    for length in range(1, len(query.steps) + 1):
        step = query.steps[length - 1]
        asked = Filter(Exists(Query(False, query.steps[:length])), deep)
        if isinstance(step, NameStep) and not _finds((*before, asked), roots, budget):
            return step.name
    return None


def _miss_of_jmespath(expression: str, roots: list[Any], budget: EvaluationBudget) -> _Miss | None:
    """Only names at the beginning are looked into; of anything else the whole expression is named."""
    base, steps = chain(parse(expression))
    names: list[str] = []
    found = roots if base is None else []
    for step in steps if base is None else ():
        if not isinstance(step, Member):
            break
        names.append(step.name)
        budget.charge(len(found))
        found = [each[step.name] for each in found if isinstance(each, dict) and each.get(step.name) is not None]
        if not found:
            return _Miss(".".join(names), step.name)
    return _Miss(expression, None)


def _is_costly(normalized: Any) -> bool:
    return any(failure.error.name == "MessageTooCostly" for failure in normalized.failures)
