"""From the tokens that a template matched to measurements: one Python function per template, written when it is loaded.

A template is a fixed sequence of readings. Interpreting that sequence for every match would cost more than the
readings themselves, so its source is put together here from a closed set of fragments and compiled once. No text of
the mapping enters the source: names, expressions and types are constants, which the function is given.

Templates of one shape share a function: for a thousand of them only a few are compiled. The constants are an argument,
not globals of a function each: Python specializes code for the globals that it met, and would do so in vain where
templates take turns.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from medtech.dotnet.numbers import format_double
from medtech.dotnet.text import is_blank, well_formed
from medtech.dotnet.times import LAST_MILLIONTHS, LAST_THOUSANDTHS, SECONDS, THOUSANDTHS, NoDate
from medtech.dotnet.tokens import NoReading, text_reading, time_reading
from medtech.errors import MessageTooCostly
from medtech.evaluation_budget import CHARACTERS_A_STEP, BudgetSpent, EvaluationBudget
from medtech.mapping.content_template import ContentTemplate, Evaluation, Field, NoValue, PropertyLookup
from medtech.mapping.expression import FAILED
from medtech.model import Measurement, NormalizationFailure

_Extract = Callable[
    [
        tuple[Any, ...],
        dict[str, Any],
        list[Any],
        int,
        str,
        int,
        list[Measurement],
        list[NormalizationFailure],
        EvaluationBudget,
    ],
    None,
]


class Extraction(NamedTuple):
    """A template's function, and its `constants`.

    Called as `extract(constants, document, matched tokens, ingestion time, partition, sequence number, measurements to
    add to, failures to add to, budget)`; raises MessageTooCostly.
    """

    extract: _Extract
    constants: tuple[Any, ...]


_MEASUREMENT_STEPS = 60
"""For each match, and what it leaves in memory: a measurement takes some 500 bytes, without its texts."""
_FIELD_STEPS = 10
"""For each field of each match: a pair of name and value, and the reading of a token."""
_FAILURE_STEPS = 150
"""For each match that fails: an error with its message."""
_LONG_VALUE = 64
"""Characters. Ids and readings are shorter; what is longer is charged by its length."""


_SIZES = (64, 128, 256, 512, 1024, 2048)
_LEAST_BYTES_OF_MATCH = 5
"""`{a:1}`"""
_ASKED_STEPS = 10
"""For asking an object whether it has a template's names, its part of the walk included."""


def compile_extraction(
    template: ContentTemplate, *, matches_once: bool, certain_names: frozenset[str] = frozenset()
) -> Extraction:
    """The function that makes a measurement or a failure of each matched token, in order, with its constants.

    `matches_once` promises that every matched token is an object, and another one of the message; then each has the
    `certain_names`.
    """
    return _Writer(template, matches_once, certain_names).extraction()


def most_bytes_of_lookups(templates: Sequence[ContentTemplate], steps: int) -> int:
    """Up to which size no body can take so many steps, whatever it is, if all that templates ask of objects is names.

    0 if a template does more than look up.
    """
    fields = [template.fields for template in templates]
    if any(isinstance(field.source, Evaluation) for of_template in fields for field in of_template):
        return 0
    most = 0
    for size in _SIZES:
        matches = size // _LEAST_BYTES_OF_MATCH
        each = _ASKED_STEPS + _MEASUREMENT_STEPS + _FAILURE_STEPS
        of_field = _FIELD_STEPS + size // CHARACTERS_A_STEP
        if matches * sum(each + of_field * len(of_template) for of_template in fields) <= steps:
            most = size
    return most


class _Writer:
    """Writes the source of one template's function."""

    def __init__(self, template: ContentTemplate, matches_once: bool, certain_names: frozenset[str]) -> None:
        self._template = template
        self._matches_once = matches_once
        self._certain_names = certain_names
        self._fields: list[Field] = []
        self._before: list[str] = []
        self._each: list[str] = []
        self._constants: dict[str, Any] = {
            "TEMPLATE": template.index,
            "TYPE": template.type,
            "errors": self,
        }

    def extraction(self) -> Extraction:
        template = self._template
        evaluated = [field.source for field in template.fields if isinstance(field.source, Evaluation)]
        self._constants["STEPS_EACH"] = (
            _MEASUREMENT_STEPS
            + _FIELD_STEPS * len(template.fields)
            + sum(source.weight for source in evaluated if source.from_match)
        )
        self._text("device_id", template.device_id)
        self._time("time", template.time)
        self._text("patient_id", template.patient_id)
        self._text("encounter_id", template.encounter_id)
        self._text("correlation_id", template.correlation_id)
        properties = self._values(template.values)
        source = "\n".join(
            [
                "def extract(",
                "    constants, document, tokens, ingestion_time, partition, sequence_number,",
                "    measurements, failures, budget",
                "):",
                f"    {', '.join(self._constants)} = constants",
                "    at = -1",
                "    try:",
                # One match of each template is free, so that most messages do not pay for being charged.
                "        if len(tokens) > 1:",
                "            budget.charge(len(tokens) * STEPS_EACH)",
                *(["        try:", *_indented(self._before, 3), *_FAIL_ALL] if self._before else []),
                "        match = -1",
                "        for token in tokens:",
                "            match += 1",
                "            try:",
                *_indented(self._each, 4),
                "                measurements.append(new(Measurement, (",
                "                    TYPE, time, device_id, patient_id, encounter_id, correlation_id,",
                f"                    {properties}, ingestion_time, partition, sequence_number, TEMPLATE, match",
                "                )))",
                "            except FAILURES as error:",
                "                failures.append(errors.failure(at, error, match, budget))",
                "    except BudgetSpent as spent:",
                "        raise errors.too_costly(at, spent) from None",
            ]
        )
        return Extraction(_compiled(source), tuple(self._constants.values()))

    def _text(self, variable: str, field: Field | None) -> None:
        """Fragments that leave the field's text in `variable`; None where an optional field has none."""
        if field is None:
            self._before.append(f"{variable} = None")
            return
        code = [f"at = {self._number(field)}", *self._token(variable, field.source)]
        read = f"{variable} = {'required_text' if field.required else 'optional_text'}({variable})"
        if isinstance(field.source, Evaluation):
            # Most functions return a fraction.
            code += [f"if type({variable}) is float:", f"    {variable} = format_double({variable})"]
            code += ["else:", f"    {read}"]
        else:
            # What `json_date` asks first is asked here. Nearly all readings and ids fail it, are not dates and read as
            # themselves; without the call a message of `bench` takes 4.4 instead of 5.1 us.
            may_be_date = f"len({variable}) > 8 and ({variable}[10:11] == 'T' or {variable}[0] == '/')"
            code += [f"if type({variable}) is not str or {may_be_date}:", f"    {read}"]
        if field.required:
            code += [f"if not {variable} or {variable}.isspace() and is_blank({variable}):", "    raise NoValue"]
        # A text that is in every measurement, or in several, may make more of them than the message has. What is looked
        # up in matches that are all different cannot.
        if not field.source.from_match:
            code += _charging(field, variable, "len(tokens) * ")
        elif isinstance(field.source, Evaluation) or not self._matches_once:
            code += _charging(field, variable)
        self._put(code, field)

    def _time(self, variable: str, fields: tuple[Field, ...]) -> None:
        *alternatives, last = fields
        depth = 0
        code: list[str] = []
        for field in alternatives:
            code += _indented(["try:", *_indented(self._attempt(variable, field), 1), "except NoReading:"], depth)
            depth += 1
        code += _indented(self._attempt(variable, last), depth)
        self._put(code, *fields)

    def _attempt(self, variable: str, field: Field) -> list[str]:
        return [
            f"at = {self._number(field)}",
            *self._token("token_of_time", field.source),
            *(line.format(time=variable) for line in _READ_TIME),
        ]

    def _values(self, fields: tuple[Field, ...]) -> str:
        """Fragments for the values; returns the expression of the properties tuple."""
        for number, field in enumerate(fields):
            self._constants[f"VALUE_{number}"] = field.origin.name
            self._text(f"value_{number}", field)
        pairs = [f"(VALUE_{number}, value_{number})" for number in range(len(fields))]
        if all(field.required for field in fields):
            return f"({', '.join(pairs)}{',' if pairs else ''})"
        self._each.append("properties = []")
        for number, field in enumerate(fields):
            if not field.required:
                self._each.append(f"if value_{number} is not None:")
            self._each.append(f"{'' if field.required else '    '}properties.append({pairs[number]})")
        return "tuple(properties)"

    def _put(self, code: list[str], *fields: Field) -> None:
        """What does not depend on the match is read once, before the first match."""
        if any(field.source.from_match for field in fields):
            self._each += code
        elif all(isinstance(field.source, PropertyLookup) for field in fields):
            self._before += code
        else:
            # A match fails by its first field that does, so this failure waits until those before it have been read.
            failed = f"failed_{self._number(fields[0])}"
            keep = f"    {failed} = at, error.with_traceback(None)"
            self._before += [f"{failed} = None", "try:", *_indented(code, 1), "except FAILURES as error:", keep]
            self._each += [
                f"if {failed}:",
                f"    failures.append(errors.failure(*{failed}, match, budget))",
                "    continue",
            ]

    def _number(self, field: Field) -> int:
        self._fields.append(field)
        return len(self._fields) - 1

    def _token(self, variable: str, source: PropertyLookup | Evaluation) -> list[str]:
        """Fragments that leave the source's token in `variable`, or None."""
        if isinstance(source, Evaluation):
            token = "token" if source.from_match else "None"
            return [f"{variable} = {self._constant('evaluate', source.evaluate)}(document, {token}, budget)"]
        base = "token" if source.from_match else "document"
        is_object = not source.from_match or self._matches_once
        code = [] if source.names else [f"{variable} = {base}"]
        for name in source.names:
            is_certain = base == "token" and self._matches_once and name in self._certain_names
            constant = self._constant("name", name)
            step = f"{base}[{constant}]" if is_certain else f"{base}.get({constant})"
            code.append(
                f"{variable} = {step}" if is_object else f"{variable} = {step} if type({base}) is dict else None"
            )
            base, is_object = variable, False
        return code

    def _constant(self, kind: str, value: Any) -> str:
        name = f"{kind}_{len(self._constants)}"
        self._constants[name] = value
        return name

    def failure(self, at: int, error: Exception, match: int, budget: EvaluationBudget) -> NormalizationFailure:
        budget.charge(_FAILURE_STEPS)
        return self._template.failure(self._fields[at].origin, error, match)

    def too_costly(self, at: int, cause: BudgetSpent) -> MessageTooCostly:
        template = self._template
        return template.too_costly(template.type_match if at < 0 else self._fields[at].origin, cause)


# The two shapes of nearly all times are read as `utc_ticks` reads them, with which `time_reading` begins: without the
# call a reading of a batch takes 0.1 us less. What is no text has no length or no slices, and is left to `time_reading`
# too.
_READ_TIME = [
    "{time} = None",
    "try:",
    "    length = len(token_of_time)",
    "    if length == 24:",
    "        {time} = SECONDS[token_of_time[:20]] + LAST_THOUSANDTHS[token_of_time[20:]]",
    "    elif length == 27:",
    "        {time} = SECONDS[token_of_time[:20]] + THOUSANDTHS[token_of_time[20:23]] + "
    "LAST_MILLIONTHS[token_of_time[23:]]",
    "except OTHER_SHAPE:",
    "    pass",
    "if {time} is None:",
    "    {time} = time_reading(token_of_time)",
]

_FAIL_ALL = [
    "        except FAILURES as error:",
    "            for match in range(len(tokens)):",
    "                failures.append(errors.failure(at, error, match, budget))",
    "            return",
]


def _charging(field: Field, variable: str, times: str = "") -> list[str]:
    """Fragments that charge a long text; shorter ones are part of a field's steps."""
    known = "" if field.required else f"{variable} is not None and "
    return [
        f"if {known}len({variable}) > {_LONG_VALUE}:",
        f"    budget.charge({times}(len({variable}) // {CHARACTERS_A_STEP}))",
    ]


def _indented(lines: list[str], depth: int) -> list[str]:
    return [f"{'    ' * depth}{line}" for line in lines]


def required_text(token: Any) -> str | None:
    """The text of a token. Texts that a function makes, and metadata of the hub, may hold half characters."""
    text = text_reading(token)
    return None if text is None else well_formed(text)


def optional_text(token: Any) -> str | None:
    """The text of an optional part; a token without a text reading counts as absent."""
    try:
        return required_text(token)
    except NoReading:
        return None


_COMMON: dict[str, Any] = {
    "BudgetSpent": BudgetSpent,
    "FAILURES": (NoReading, *FAILED, NoValue),
    "Measurement": Measurement,
    "NoReading": NoReading,
    "NoValue": NoValue,
    "format_double": format_double,
    "is_blank": is_blank,
    "new": tuple.__new__,
    "optional_text": optional_text,
    "required_text": required_text,
    "time_reading": time_reading,
    "LAST_MILLIONTHS": LAST_MILLIONTHS,
    "LAST_THOUSANDTHS": LAST_THOUSANDTHS,
    "OTHER_SHAPE": (KeyError, TypeError, NoDate),
    "SECONDS": SECONDS,
    "THOUSANDTHS": THOUSANDTHS,
}


@lru_cache(maxsize=64)
def _compiled(source: str) -> _Extract:
    scope = dict(_COMMON)
    exec(compile(source, "<device template>", "exec"), scope)
    return scope["extract"]  # type: ignore[no-any-return]
