"""Bicep files as Python values, for the tests: what is declared, and the bodies of resources and modules.

The syntax is read by tree-sitter's grammar of Bicep. It is no compiler: types of expressions are not inferred, and what
has to be computed stays text.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
FILES = sorted(path.name for path in INFRA.rglob("*.bicep"))
"""Relative to `INFRA`."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A value that is known in Azure only."""

    text: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A ternary: the value is one of the two."""

    condition: str
    values: tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """Of a template, or a property of a type, which has no default and no description."""

    name: str
    type: str
    default: str | None
    description: str | None
    decorators: dict[str, Any]

    @property
    def minimum(self) -> int | None:
        return self.decorators.get("minLength", self.decorators.get("minValue"))

    @property
    def maximum(self) -> int | None:
        return self.decorators.get("maxLength", self.decorators.get("maxValue"))


@dataclass(frozen=True, slots=True)
class Resource:
    symbol: str
    type: str
    api_version: str
    existing: bool
    condition: str | None
    body: dict[str, Any]
    decorators: dict[str, Any]

    @property
    def declared_type(self) -> str:
        return f"{self.type}@{self.api_version}"


@dataclass(frozen=True, slots=True)
class Module:
    symbol: str
    path: str
    condition: str | None
    body: dict[str, Any]

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self.body.get("params", {}))


@dataclass(frozen=True, slots=True)
class Template:
    """One file. Outputs are name to type and expression, imports name to file."""

    name: str
    tree: Node
    parameters: dict[str, Parameter] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    types: dict[str, Node] = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    modules: dict[str, Module] = field(default_factory=dict)
    outputs: dict[str, tuple[str, str]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)

    @property
    def created(self) -> list[Resource]:
        return [resource for resource in self.resources.values() if not resource.existing]

    def properties_of_type(self, name: str) -> dict[str, Parameter]:
        """The properties of a declared object type, with their bounds."""
        found: dict[str, Parameter] = {}
        decorators: dict[str, Any] = {}
        for node in self.types[name].named_children:
            if node.type == "decorators":
                decorators = _decorators(node)
            elif node.type == "object_property":
                key, declared = node.named_children
                property_name = _text(key)
                found[property_name] = Parameter(property_name, _text(declared), None, None, decorators)
                decorators = {}
        return found


@cache
def template(name: str) -> Template:
    """Raises SyntaxError, with the line, for a file that is no Bicep."""
    return parsed(name, (INFRA / name).read_bytes())


def parsed(name: str, source: bytes) -> Template:
    """As `template`, of a text."""
    root = Parser(Language(tree_sitter_bicep.language())).parse(source).root_node
    for node in descendants(root):
        if node.type == "ERROR" or node.is_missing:
            raise SyntaxError(f"infra/{name}, line {node.start_point[0] + 1}: {_text(node)[:80]!r}")
    read = Template(name, root)
    decorators: dict[str, Any] = {}
    for node in root.named_children:
        if node.type == "decorators":
            decorators = _decorators(node)
            continue
        _DECLARATIONS.get(node.type, _nothing)(read, node, decorators)
        if node.type != "comment":
            decorators = {}
    return read


def templates() -> list[Template]:
    return [template(name) for name in FILES]


def descendants(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from descendants(child)


def value(node: Node, variables: dict[str, Any]) -> Any:
    """What an expression says by itself; a variable is put in, an array that is mapped has one item."""
    match node.type:
        case "object":
            return {
                _key(pair.named_children[0]): value(pair.named_children[1], variables)
                for pair in node.named_children
                if pair.type == "object_property"
            }
        case "array":
            return [value(item, variables) for item in node.named_children if item.type != "comment"]
        case "string" if not any(child.type == "interpolation" for child in node.named_children):
            return "".join(_text(child) for child in node.named_children)
        case "number":
            return int(_text(node))
        case "boolean":
            return _text(node) == "true"
        case "null":
            return None
        case "identifier" if _text(node) in variables:
            return variables[_text(node)]
        case "parenthesized_expression":
            return value(node.named_children[0], variables)
        case "ternary_expression":
            parts = [node.child_by_field_name(name) for name in ("condition", "consequence", "alternative")]
            condition, consequence, alternative = (part for part in parts if part is not None)
            return Choice(_text(condition), (value(consequence, variables), value(alternative, variables)))
        case "call_expression":
            function, arguments = (_text(node.named_children[0]), node.named_children[1].named_children)
            if function == "map":
                return [value(arguments[1].named_children[-1], variables)]
            if function == "filter":
                return value(arguments[0], variables)
    return Expression(_text(node))


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _key(node: Node) -> str:
    """`*` for a key that is computed."""
    if node.type != "string":
        return _text(node)
    computed = any(child.type == "interpolation" for child in node.named_children)
    return "*" if computed else "".join(_text(child) for child in node.named_children)


def _decorators(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for call in (child.named_children[0] for child in node.named_children if child.type == "decorator"):
        arguments = call.named_children[1].named_children
        found[_text(call.named_children[0])] = value(arguments[0], {}) if arguments else True
    return found


def _body(node: Node, variables: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The condition and the object of a resource or module, whose loop is left aside."""
    if node.type == "for_statement":
        return _body(node.named_children[-1], variables)
    if node.type == "if_statement":
        condition, body = node.named_children
        return _text(condition.named_children[0]), value(body, variables)
    return None, value(node, variables)


def _parameter(read: Template, node: Node, decorators: dict[str, Any]) -> None:
    name, declared, *default = node.named_children
    read.parameters[_text(name)] = Parameter(
        _text(name),
        _text(declared),
        _text(default[0]) if default else None,
        decorators.get("description"),
        decorators,
    )


def _variable(read: Template, node: Node, _: dict[str, Any]) -> None:
    name, expression = node.named_children
    read.variables[_text(name)] = value(expression, read.variables)


def _type(read: Template, node: Node, _: dict[str, Any]) -> None:
    name, body = node.named_children
    read.types[_text(name)] = body


def _resource(read: Template, node: Node, decorators: dict[str, Any]) -> None:
    symbol, declared, body = node.named_children
    kind, _at, api_version = value(declared, {}).partition("@")
    condition, read_body = _body(body, read.variables)
    existing = any(child.type == "existing" or child.text == b"existing" for child in node.children)
    read.resources[_text(symbol)] = Resource(
        _text(symbol), kind, api_version, existing, condition, read_body, decorators
    )


def _module(read: Template, node: Node, _: dict[str, Any]) -> None:
    symbol, path, body = node.named_children
    condition, read_body = _body(body, read.variables)
    read.modules[_text(symbol)] = Module(_text(symbol), value(path, {}), condition, read_body)


def _output(read: Template, node: Node, _: dict[str, Any]) -> None:
    name, declared, expression = node.named_children
    read.outputs[_text(name)] = (_text(declared), _text(expression))


def _import(read: Template, node: Node, _: dict[str, Any]) -> None:
    *names, path = node.named_children
    read.imports.update({_text(name): value(path, {}) for name in names})


def _nothing(read: Template, node: Node, _: dict[str, Any]) -> None:
    """Comments and the target scope."""


_DECLARATIONS = {
    "parameter_declaration": _parameter,
    "variable_declaration": _variable,
    "type_declaration": _type,
    "resource_declaration": _resource,
    "module_declaration": _module,
    "output_declaration": _output,
    "import_functionality": _import,
}
