"""The expressions of ARM templates, `[concat(parameters('name'), '.servicebus.windows.net')]`, as far as they can be
evaluated without Azure.

Source of the rules: https://learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions. What needs
Azure (`reference`, `listKeys`, `uniqueString`), and what holds a secret, is Unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medtech.dotnet.json_reader import LocatedSyntaxError, Node, parse_located
from medtech.importing.document import section_of
from medtech.mapping.schema import Section, text_of

MAX_TEXT = 4 * 1024 * 1024
"""Characters of a text that is put together. Variables that double each other would fill the memory."""

_MAX_DEPTH = 50
"""Calls within calls, and parameters within variables. Compiled templates have fewer than ten."""

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*+')|(-?[0-9]+)|([A-Za-z_][\w.]*)|([(),\[\].]))")
_HOLE = re.compile(r"\{([0-9]+)\}")


class Unknown(str):
    """A text of a template with an expression that only a deployment can evaluate."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where a template is deployed; empty where that is not known."""

    subscription: str = ""
    resource_group: str = ""


class Scope:
    """The parameters and variables of a template. `given` are the values of parameters that a deployment gives."""

    def __init__(self, template: Section, given: Mapping[str, Node], deployment: Deployment) -> None:
        self.deployment = deployment
        self._parameters = section_of(template.find("parameters"))
        self._variables = section_of(template.find("variables"))
        # Null is not given: the files that the portal exports have it beside a default value.
        self._given = {name.lower(): node for name, node in given.items() if node.value is not None}
        self._under_way: list[str] = []
        self._known: dict[str, Node] = {}

    def resolved(self, node: Node) -> Node:
        """The value with its expressions evaluated; what cannot be evaluated is Unknown there."""
        value = node.value
        if isinstance(value, dict):
            return _like(node, {self._name(name): self.resolved(member) for name, member in value.items()})
        if isinstance(value, list):
            return _like(node, [self.resolved(element) for element in value])
        if not isinstance(value, str) or isinstance(value, Unknown) or value[:1] != "[" or value[-1:] != "]":
            return node
        if value.startswith("[["):
            return _like(node, value[1:])
        try:
            return _like(node, _Evaluation(value[1:-1], self).result().value)
        except _CannotBeEvaluated:
            return _like(node, Unknown(value))

    def _name(self, name: str) -> str:
        """Names of properties may be expressions: ids of identities are."""
        found = self.resolved(_made(name)).value
        return found if isinstance(found, str) else name

    def parameter(self, name: str) -> Node:
        declared = section_of(self._parameters.find(name))
        kind = declared.find("type")
        if kind is not None and str(kind.value).lower().startswith("secure"):
            raise _CannotBeEvaluated
        found = self._given.get(name.lower())
        if found is not None:
            return found
        return self._once(f"parameter {name}", declared.find("defaultValue"))

    def variable(self, name: str) -> Node:
        return self._once(f"variable {name}", self._variables.find(name))

    def _once(self, key: str, node: Node | None) -> Node:
        """Resolved once, unless that is under way already: a variable that is made of itself has no value."""
        if key in self._known:
            return self._known[key]
        if node is None or key in self._under_way or len(self._under_way) >= _MAX_DEPTH:
            raise _CannotBeEvaluated
        self._under_way.append(key)
        # Kept, or fifty variables that each name the one before twice would be evaluated for ever.
        self._known[key] = self.resolved(node)
        self._under_way.pop()
        return self._known[key]


def unknown_in(node: Node) -> Node | None:
    """The first Unknown in a value, None if everything in it is known."""
    waiting = [node]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        # What variables share is looked at once: it may be held more often than memory could.
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each.value, Unknown):
            return each
        if isinstance(each.value, dict):
            waiting += reversed(each.value.values())
        elif isinstance(each.value, list):
            waiting += reversed(each.value)
    return None


class _CannotBeEvaluated(Exception):
    pass


def _like(node: Node, value: dict[str, Node] | list[Node] | str | int | object) -> Node:
    """A value in the place of a node."""
    return Node(value, node.line, node.position, node.path, node.name_line, node.name_position)  # type: ignore[arg-type]


def _made(value: object) -> Node:
    """A value that stands nowhere."""
    return Node(value, -1, -1, ())  # type: ignore[arg-type]


class _Evaluation:
    """One expression, evaluated while it is read."""

    def __init__(self, text: str, scope: Scope) -> None:
        self._scope = scope
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0

    def result(self) -> Node:
        found = self._value()
        if self._at != len(self._tokens):
            raise _CannotBeEvaluated
        return found

    def _value(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _CannotBeEvaluated
        token = self._next()
        if token[0] == "'":
            found = _made(token[1:-1].replace("''", "'"))
        elif token.lstrip("-").isdigit():
            found = _made(int(token))
        elif self._peek() == "(":
            found = self._call(token.lower())
        else:
            raise _CannotBeEvaluated
        while self._peek() in (".", "["):
            found = self._member(found)
        self._depth -= 1
        return found

    def _call(self, name: str) -> Node:
        function = _FUNCTIONS.get(name)
        if function is None:
            raise _CannotBeEvaluated
        self._next()
        arguments: list[Node] = []
        while self._peek() != ")":
            arguments.append(self._argument())
            if self._peek() == ",":
                self._next()
        self._next()
        found = function(self._scope, arguments)
        if isinstance(found.value, str) and len(found.value) > MAX_TEXT:
            raise _CannotBeEvaluated
        return found

    def _argument(self) -> Node:
        """What cannot be evaluated is Unknown there: `if` may choose the other one."""
        start, depth = self._at, self._depth
        try:
            return self._value()
        except _CannotBeEvaluated:
            self._at, self._depth = start, depth
            self._pass_by()
            return _made(Unknown())

    def _pass_by(self) -> None:
        """To the end of an argument."""
        opened = 0
        while opened or self._peek() not in (",", ")"):
            token = self._next()
            opened += (token in ("(", "[")) - (token in (")", "]"))

    def _member(self, of: Node) -> Node:
        if self._next() == ".":
            name: object = self._next()
        else:
            name = self._value().value
            if self._next() != "]":
                raise _CannotBeEvaluated
        if isinstance(of.value, list) and isinstance(name, int) and 0 <= name < len(of.value):
            return of.value[name]
        found = section_of(of).find(name) if isinstance(name, str) else None
        if found is None:
            raise _CannotBeEvaluated
        return found

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise _CannotBeEvaluated
        self._at += 1
        return token


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None:
            raise _CannotBeEvaluated
        name = token[3]
        if name is not None and "." in name:
            # `resourceGroup().name` has its dot behind a bracket, `a.b` is a function of a namespace.
            first, *others = name.split(".")
            found.append(first)
            for other in others:
                found += (".", other)
        else:
            found.append(token[0].strip())
        at = token.end()
    return found


def _text(node: Node) -> str:
    if isinstance(node.value, Unknown):
        raise _CannotBeEvaluated
    text = text_of(node)
    if text is None:
        raise _CannotBeEvaluated
    return text


def _exactly(count: int, arguments: Sequence[Node]) -> Sequence[Node]:
    if len(arguments) != count:
        raise _CannotBeEvaluated
    return arguments


def _only(arguments: Sequence[Node]) -> Node:
    return _exactly(1, arguments)[0]


def _elements(node: Node) -> list[Node]:
    if not isinstance(node.value, list):
        raise _CannotBeEvaluated
    return node.value


def _number(node: Node) -> int:
    if type(node.value) is not int:
        raise _CannotBeEvaluated
    return node.value


def _concat(_: Scope, arguments: Sequence[Node]) -> Node:
    if arguments and all(isinstance(each.value, list) for each in arguments):
        joined: list[Node] = []
        for each in arguments:
            assert isinstance(each.value, list)
            joined += each.value
            if len(joined) > MAX_TEXT:
                raise _CannotBeEvaluated
        return _made(joined)
    return _joined(list(map(_text, arguments)), "")


def _joined(texts: Sequence[str], delimiter: str) -> Node:
    if sum(map(len, texts)) + len(delimiter) * len(texts) > MAX_TEXT:
        raise _CannotBeEvaluated
    return _made(delimiter.join(texts))


def _join(_: Scope, arguments: Sequence[Node]) -> Node:
    elements, delimiter = _exactly(2, arguments)
    return _joined(list(map(_text, _elements(elements))), _text(delimiter))


def _replace(_: Scope, arguments: Sequence[Node]) -> Node:
    text, old, new = map(_text, _exactly(3, arguments))
    if not old or len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise _CannotBeEvaluated
    return _made(text.replace(old, new))


def _split(_: Scope, arguments: Sequence[Node]) -> Node:
    """By a delimiter, or by any of a list of them."""
    text, given = _exactly(2, arguments)
    delimiters = list(map(_text, given.value if isinstance(given.value, list) else [given]))
    if not all(delimiters):
        raise _CannotBeEvaluated
    return _made([_made(part) for part in re.split("|".join(map(re.escape, delimiters)), _text(text))])


def _substring(_: Scope, arguments: Sequence[Node]) -> Node:
    if len(arguments) not in (2, 3):
        raise _CannotBeEvaluated
    text, start = _text(arguments[0]), _number(arguments[1])
    end = len(text) if len(arguments) == 2 else start + _number(arguments[2])
    if not 0 <= start <= end <= len(text):
        raise _CannotBeEvaluated
    return _made(text[start:end])


def _element_at(at: int) -> Callable[[Scope, Sequence[Node]], Node]:
    """The function that gives the element of a list, or the character of a text, at 0 or -1."""

    def element(_: Scope, arguments: Sequence[Node]) -> Node:
        of = _only(arguments)
        if isinstance(of.value, list):
            return of.value[at] if of.value else _made(None)
        text = _text(of)
        return _made(text[at] if text else "")

    return element


def _length(_: Scope, arguments: Sequence[Node]) -> Node:
    of = _only(arguments)
    return _made(len(of.value if isinstance(of.value, (dict, list)) else _text(of)))


def _contains(_: Scope, arguments: Sequence[Node]) -> Node:
    """A part of a text, an element of a list, or a name of an object; only names are in any case."""
    holder, sought = _exactly(2, arguments)
    if isinstance(holder.value, dict):
        return _made(section_of(holder).find(_text(sought)) is not None)
    if isinstance(holder.value, list):
        wanted = _plain(sought)
        return _made(any(type(each) is type(wanted) and each == wanted for each in map(_plain, holder.value)))
    return _made(_text(sought) in _text(holder))


def _try_get(_: Scope, arguments: Sequence[Node]) -> Node:
    """A member of a member; null if one of them is not there."""
    if not arguments:
        raise _CannotBeEvaluated
    found, *keys = arguments
    for key in keys:
        if isinstance(found.value, Unknown):
            raise _CannotBeEvaluated
        if isinstance(found.value, list):
            at = _number(key)
            found = found.value[at] if 0 <= at < len(found.value) else _made(None)
        else:
            found = section_of(found).find(_text(key)) or _made(None)
    return found


def _coalesce(_: Scope, arguments: Sequence[Node]) -> Node:
    return next((each for each in arguments if each.value is not None), _made(None))


def _format(_: Scope, arguments: Sequence[Node]) -> Node:
    texts = list(map(_text, arguments))
    if not texts:
        raise _CannotBeEvaluated
    try:
        filled = _HOLE.sub(lambda hole: texts[int(hole[1]) + 1], texts[0].replace("{{", "\0").replace("}}", "\1"))
    except (IndexError, ValueError):
        raise _CannotBeEvaluated from None
    return _made(filled.replace("\0", "{").replace("\1", "}"))


def _json(_: Scope, arguments: Sequence[Node]) -> Node:
    try:
        return parse_located(_text(_only(arguments)))
    except LocatedSyntaxError:
        raise _CannotBeEvaluated from None


def _resource_id(scope: Scope, arguments: Sequence[Node]) -> Node:
    """`resourceId([subscription, [resource group,]] type, name, …)`: the first with a slash is the type."""
    texts = list(map(_text, arguments))
    at = next((index for index, text in enumerate(texts) if "/" in text), None)
    if at is None or at > 2:
        raise _CannotBeEvaluated
    provider, *types = texts[at].split("/")
    names = texts[at + 1 :]
    subscription = texts[0] if at == 2 else scope.deployment.subscription
    group = texts[at - 1] if at else scope.deployment.resource_group
    if len(types) != len(names) or not subscription or not group:
        raise _CannotBeEvaluated
    path = "".join(f"/{each}/{name}" for each, name in zip(types, names, strict=True))
    return _made(f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{provider}{path}")


def _subscription(scope: Scope, _: Sequence[Node]) -> Node:
    if not scope.deployment.subscription:
        raise _CannotBeEvaluated
    subscription = scope.deployment.subscription
    return _made({"subscriptionId": _made(subscription), "id": _made(f"/subscriptions/{subscription}")})


def _resource_group(scope: Scope, _: Sequence[Node]) -> Node:
    subscription, group = scope.deployment.subscription, scope.deployment.resource_group
    if not subscription or not group:
        raise _CannotBeEvaluated
    return _made({"name": _made(group), "id": _made(f"/subscriptions/{subscription}/resourceGroups/{group}")})


def _plain(node: Node) -> object:
    if isinstance(node.value, (Unknown, dict, list)):
        raise _CannotBeEvaluated
    return node.value


def _boolean(node: Node) -> bool:
    if not isinstance(node.value, bool):
        raise _CannotBeEvaluated
    return node.value


def _equals(_: Scope, arguments: Sequence[Node]) -> Node:
    left, right = map(_plain, _exactly(2, arguments))
    return _made(type(left) is type(right) and left == right)


def _if(_: Scope, arguments: Sequence[Node]) -> Node:
    condition, then, otherwise = _exactly(3, arguments)
    return then if _boolean(condition) else otherwise


def _empty(_: Scope, arguments: Sequence[Node]) -> Node:
    value = _only(arguments).value
    if isinstance(value, Unknown):
        raise _CannotBeEvaluated
    return _made(value in (None, "", [], {}))


def _create_object(_: Scope, arguments: Sequence[Node]) -> Node:
    if len(arguments) % 2:
        raise _CannotBeEvaluated
    return _made({_text(name): value for name, value in zip(arguments[::2], arguments[1::2], strict=True)})


_FUNCTIONS: dict[str, Callable[[Scope, Sequence[Node]], Node]] = {
    "and": lambda _, arguments: _made(all(list(map(_boolean, arguments)))),
    "coalesce": _coalesce,
    "concat": _concat,
    "contains": _contains,
    "createarray": lambda _, arguments: _made(list(arguments)),
    "createobject": _create_object,
    "empty": _empty,
    "equals": _equals,
    "false": lambda _, arguments: _made(False),
    "first": _element_at(0),
    "format": _format,
    "if": _if,
    "join": _join,
    "json": _json,
    "last": _element_at(-1),
    "length": _length,
    "not": lambda _, arguments: _made(not _boolean(_only(arguments))),
    "null": lambda _, arguments: _made(None),
    "or": lambda _, arguments: _made(any(list(map(_boolean, arguments)))),
    "parameters": lambda scope, arguments: scope.parameter(_text(_only(arguments))),
    "replace": _replace,
    "resourcegroup": _resource_group,
    "resourceid": _resource_id,
    "split": _split,
    "subscription": _subscription,
    "substring": _substring,
    "tolower": lambda _, arguments: _made(_text(_only(arguments)).lower()),
    "toupper": lambda _, arguments: _made(_text(_only(arguments)).upper()),
    "trim": lambda _, arguments: _made(_text(_only(arguments)).strip()),
    "true": lambda _, arguments: _made(True),
    "tryget": _try_get,
    "variables": lambda scope, arguments: scope.variable(_text(_only(arguments))),
}
