"""Settings declared as the annotated fields of a class, and read from texts.

    class Settings(DeclaredSettings):
        window_seconds: Annotated[int, Field(ge=1, description="…")] = 300

As pydantic-settings has it, whose rules and words these are as far as the app's settings need them: text, whole
numbers, switches, choices and secrets. Every new worker waits for its settings: measured, 130 to 150 ms of CPU with
pydantic, and 20 so (`python -m bench.start` has the whole of a first batch). A test compares what the two take.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import (
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]+(?:_[0-9]+)*)(?:\.0+)?")
_DECIMAL_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_SWITCH = {
    **dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True),
    **dict.fromkeys(("0", "off", "f", "false", "n", "no"), False),
}

Validator = TypeVar("Validator", bound=Callable[..., Any])
Number = TypeVar("Number", int, float)


class SecretStr:
    """A text that is shown to nobody by accident; empty, it is false."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        return self._text

    def __len__(self) -> int:
        return len(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"SecretStr({str(self)!r})"

    def __str__(self) -> str:
        return "**********" if self._text else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What is said of a field beside its type: bounds of a number, and in `json_schema_extra` words for people."""

    description: str = ""
    ge: int | None = None
    le: int | None = None
    json_schema_extra: Mapping[str, Any] | None = None


class FieldInfo(NamedTuple):
    """A declared field. `annotation` is its type without what is said of it, which is in `metadata`."""

    annotation: Any
    default: Any
    description: str
    metadata: tuple[Field, ...]
    json_schema_extra: Mapping[str, Any] | None


class ValidationInfo(NamedTuple):
    """Where a validator is called: `data` has the fields before this one that are valid."""

    field_name: str
    data: Mapping[str, Any]


class Fault(NamedTuple):
    """What is wrong with a field, as the end of a sentence; nothing of its value is in it."""

    name: str
    text: str


class SettingsInvalid(ValueError):
    """Values that the fields do not take; `faults` are in the order of the fields."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} unusable")
        self.faults = faults


def field_validator(*names: str, mode: Literal["before", "after"] = "after") -> Callable[[Validator], Validator]:
    """Marks a class method that is given the values of these fields, before or after they have their type.

    It takes the value, and a ValidationInfo if it has a third parameter; it returns the value to go on with, or raises
    ValueError with the end of a sentence.
    """

    def mark(validator: Validator) -> Validator:
        function: Any = validator.__func__  # type: ignore[attr-defined]  # a class method
        function.validates = (mode, names)
        return validator

    return mark


class _Unfit(ValueError):
    """A value that is not of its field's type."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class DeclaredSettings:
    """The base of declared settings. Fields are read from the environment, in any case, unless they are given."""

    model_fields: ClassVar[dict[str, FieldInfo]]
    _validators: ClassVar[dict[tuple[str, str], list[Callable[..., Any]]]]

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls, include_extras=True)
        cls.model_fields = {
            name: _declared(hint, getattr(cls, name)) for name, hint in hints.items() if name in vars(cls)
        }
        cls._validators = {}
        for member in vars(cls).values():
            for mode, name in _validated(member):
                cls._validators.setdefault((mode, name), []).append(member.__func__)

    def __init__(self, **given: Any) -> None:
        """Raises SettingsInvalid."""
        environment = {name.lower(): value for name, value in os.environ.items()}
        self._take({name: environment[name] for name in self.model_fields if name in environment} | given)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "DeclaredSettings":
        """The settings of these values, by the names of the fields, and of no environment. Raises SettingsInvalid."""
        settings = cls.__new__(cls)
        settings._take(given)
        return settings

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} cannot be set: settings stay as they are read")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def _take(self, given: Mapping[str, Any]) -> None:
        if unknown := given.keys() - self.model_fields.keys():
            raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
        values: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, field in self.model_fields.items():
            info = ValidationInfo(name, values)
            written = given.get(name, field.default)
            try:
                values[name] = self._valid(field, written, info)
            except _Unfit as fault:
                faults.append(Fault(name, "is empty" if written == "" else str(fault)))
            except ValueError as fault:
                faults.append(Fault(name, str(fault)))
        if faults:
            raise SettingsInvalid(faults)
        vars(self).update(values)

    def _valid(self, field: FieldInfo, value: Any, info: ValidationInfo) -> Any:
        for validator in self._validators.get(("before", info.field_name), ()):
            value = _validate(validator, type(self), value, info)
        value = _typed(field, value)
        for validator in self._validators.get(("after", info.field_name), ()):
            value = _validate(validator, type(self), value, info)
        return value


def _declared(hint: Any, default: Any) -> FieldInfo:
    said: tuple[Field, ...] = ()
    if hasattr(hint, "__metadata__"):
        said = tuple(each for each in hint.__metadata__ if isinstance(each, Field))
        hint = get_args(hint)[0]
    first = said[0] if said else Field()
    return FieldInfo(hint, default, first.description, said, first.json_schema_extra)


def _validated(member: Any) -> Iterator[tuple[str, str]]:
    mode, names = getattr(getattr(member, "__func__", None), "validates", ("", ()))
    return ((mode, name) for name in names)


def _validate(validator: Callable[..., Any], settings: type, value: Any, info: ValidationInfo) -> Any:
    with_info = validator.__code__.co_argcount == 3
    return validator(settings, value, info) if with_info else validator(settings, value)


def _typed(field: FieldInfo, value: Any) -> Any:
    """The value in the type of its field. Raises _Unfit."""
    kind = field.annotation
    if not isinstance(kind, type) or get_origin(kind) is not None:
        raise TypeError(f"a setting cannot be of type {kind}")
    if issubclass(kind, StrEnum):
        return _choice(kind, value)
    if kind is bool:
        return _switch(value)
    if kind is int:
        return _bounded(_whole_number(value), field)
    if kind is float:
        return _bounded(_number(value), field)
    if kind is SecretStr:
        return value if isinstance(value, SecretStr) else SecretStr(_text(value))
    if kind is str:
        return _text(value)
    raise TypeError(f"a setting cannot be of type {kind}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Unfit("cannot be read")
    return value


def _choice(choices: type[StrEnum], value: Any) -> StrEnum:
    """In any case, and with blanks around it."""
    for choice in choices:
        if str(value).strip().lower() == choice.lower():
            return choice
    raise _Unfit("is none of its choices")


def _switch(value: Any) -> bool:
    found = value if isinstance(value, bool) else _SWITCH.get(str(value).lower())
    if found is None:
        raise _Unfit("is neither true nor false")
    return found


def _whole_number(value: Any) -> int:
    if isinstance(value, int):
        return int(value)
    found = _WHOLE_NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        return int(found[1]) if found else _not_whole()
    except ValueError:  # of more digits than Python reads
        return _not_whole()


def _not_whole() -> int:
    raise _Unfit("is not a whole number")


def _number(value: Any) -> float:
    """Digits, with a decimal point or without; no exponent, and nothing that is not a number."""
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str) and _DECIMAL_NUMBER.fullmatch(value.strip()):
        return float(value)
    raise _Unfit("is not a number")


def _bounded(number: Number, field: FieldInfo) -> Number:
    for said in field.metadata:
        if said.ge is not None and number < said.ge:
            raise _Unfit("is too small")
        if said.le is not None and number > said.le:
            raise _Unfit("is too large")
    return number
