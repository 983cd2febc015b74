"""Function calls, those in their arguments included, as the source of one Python function.

A closure for each argument and each call would take more time than most functions do. No text of an expression enters
the source: names, literals and functions are bound to it as constants.
"""

from collections.abc import Sequence
from functools import lru_cache
from types import CodeType
from typing import Any, Final, NamedTuple

from medtech.jmespath.functions import SIZED, Evaluate, Function, Parameter, charge_size, wrong_type

_FEW: Final = 16
"""An argument of up to this size is part of the call."""

_NO_LITERAL: Final = object()


class Argument(NamedTuple):
    """A variable of the source; with its value where that is a literal: the number to multiply by."""

    variable: str
    literal: Any = _NO_LITERAL


class CallWriter:
    """Writes the source, statement by statement: each method leaves what it says in a variable."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._constants: dict[str, Any] = {
            "FEW": _FEW,
            "SIZED": SIZED,
            "charge_size": charge_size,
            "wrong_type": wrong_type,
        }
        self._variables = 0

    def member(self, names: Sequence[str]) -> Argument:
        """What names lead to from the current node, one within the other, or null."""
        found = "value"
        for name in names:
            constant = self._constant(name)
            found = self._assign(f"{found}.get({constant}) if type({found}) is dict else None")
        return Argument(found)

    def literal(self, literal: Any) -> Argument:
        return Argument(self._constant(literal), literal)

    def evaluated(self, evaluate: Evaluate) -> Argument:
        """What another closure makes of the current node."""
        return Argument(self._assign(f"{self._constant(evaluate)}(value, budget)"))

    def call(self, function: Function, arguments: Sequence[Argument]) -> Argument:
        """The result of a function of arguments that are checked and charged before."""
        last = len(function.parameters) - 1
        pairs = [(function.parameters[min(place, last)], given) for place, given in enumerate(arguments)]
        are_typed = all(parameter.types is not None for parameter, _ in pairs)
        if function.charges and len(pairs) == 1 and not are_typed:
            pass  # it charges what it reads
        elif function.charges or len(pairs) > 2 or (len(pairs) == 2 and not are_typed):
            for place, (parameter, given) in enumerate(pairs, 1):
                self._check(function.name, place, parameter, given)
                self._charge(parameter, given, least=-1)
        else:
            # What a literal is was known when the expression was compiled, and its size is the expression's own.
            checked = [
                (place, parameter, given)
                for place, (parameter, given) in enumerate(pairs, 1)
                if place == 1 or parameter.types is None or type(given.literal) not in parameter.types
            ]
            for place, parameter, given in checked:
                self._check(function.name, place, parameter, given)
            for _, parameter, given in checked:
                self._charge(parameter, given, least=_FEW)
        listed = [given.variable for given in arguments]
        if function.charges:
            # By its place where it has one: a keyword costs a call 0.03 us.
            listed.append("budget=budget" if function.variadic else "budget")
        return Argument(self._assign(f"{self._constant(function.call)}({', '.join(listed)})"))

    def function(self, result: Argument) -> Evaluate:
        """The closure that returns `result`."""
        lines = [*self._lines, f"return {result.variable}"]
        source = "\n".join(["def evaluate(value, budget):", *(f"    {line}" for line in lines)])
        exec(_code(source), self._constants)
        return self._constants["evaluate"]  # type: ignore[no-any-return]

    def _check(self, name: str, place: int, parameter: Parameter, given: Argument) -> None:
        if parameter.types is None:
            return
        types, described = self._constant(parameter.types), self._constant(parameter)
        self._lines += [
            f"if type({given.variable}) not in {types}:",
            f"    raise wrong_type({self._constant(name)}, {place}, {described}, {given.variable})",
        ]

    def _charge(self, parameter: Parameter, given: Argument, *, least: int) -> None:
        """Charges an argument of more elements or characters than `least`."""
        if parameter.types is not None and parameter.types.isdisjoint(SIZED):
            return
        variable = given.variable
        if least >= 0:
            is_sized = f"type({variable}) in SIZED and " if parameter.types is None else ""
            self._lines += [f"if {is_sized}len({variable}) > FEW:", f"    charge_size({variable}, budget)"]
        else:
            self._lines.append(f"charge_size({variable}, budget)")

    def _assign(self, expression: str) -> str:
        self._variables += 1
        variable = f"found_{self._variables}"
        self._lines.append(f"{variable} = {expression}")
        return variable

    def _constant(self, constant: Any) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants[name] = constant
        return name


@lru_cache(maxsize=256)
def _code(source: str) -> CodeType:
    """Calls of one shape have the same source: for a thousand templates only a few compilations are needed."""
    return compile(source, "<function calls of an expression>", "exec")
