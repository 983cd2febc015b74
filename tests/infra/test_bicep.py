"""The files are Bicep, and fit together: what is used is declared, what is declared is used.

This is what a compiler would say first; there is none for Python.
"""

import itertools
import re

import pytest
from tree_sitter import Node

from tests.infra.bicep import FILES, INFRA, Template, descendants, parsed, template, templates

FUNCTIONS = {
    *("cidrSubnet", "concat", "empty", "environment", "filter", "flatten", "guid", "items", "join", "loadTextContent"),
    *("map", "mapValues", "replace", "resourceGroup", "resourceId", "split", "startsWith", "string"),
    *("subscription", "subscriptionResourceId", "take", "tenant", "toLower", "union", "uniqueString", "uri"),
}
"""Of Bicep, as far as they are used."""


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_bicep(name: str) -> None:
    assert template(name).tree.type == "infrastructure"


def test_a_fault_is_found_with_its_line() -> None:
    text = (INFRA / "storage.bicep").read_text().replace("kind: 'StorageV2'", "kind 'StorageV2'")
    line = text.split("\n").index("  kind 'StorageV2'") + 1
    with pytest.raises(SyntaxError, match=rf"storage\.bicep, line ({line}|{line - 1})\b"):
        parsed("storage.bicep", text.encode())


def _local_names(read: Template) -> set[str]:
    """Of loops and lambdas."""
    names: set[str] = set()
    for node in descendants(read.tree):
        if node.type == "for_statement":
            loop = node.named_children[0]
            names |= {_text(part) for part in (loop.named_children or [loop])}
        elif node.type == "lambda_expression":
            names |= {_text(part) for part in node.named_children[:-1]}
    return names


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _referred(read: Template) -> set[str]:
    """The names that expressions and types use; functions are not among them."""
    names: set[str] = set()
    for node in descendants(read.tree):
        if node.type != "identifier" or node.parent is None:
            continue
        first = node.parent.named_children[0] == node
        declares = first and (
            node.parent.type.endswith("_declaration")
            or node.parent.type in {"object_property", "lambda_expression", "for_statement", "call_expression"}
        )
        if not declares and node.parent.type not in {"import_functionality", "decorator"}:
            names.add(_text(node))
    return names


def _declared(read: Template) -> set[str]:
    named = (read.parameters, read.variables, read.types, read.resources, read.modules, read.imports)
    return {name for names in named for name in names}


@pytest.mark.parametrize("name", FILES)
def test_every_name_in_use_is_declared(name: str) -> None:
    read = template(name)
    assert _referred(read) - _declared(read) - _local_names(read) == set()


@pytest.mark.parametrize("name", FILES)
def test_no_parameter_or_variable_is_idle(name: str) -> None:
    read = template(name)
    assert {*read.parameters, *read.variables, *read.imports} - _referred(read) == set()


@pytest.mark.parametrize("name", FILES)
def test_every_function_is_one_of_bicep(name: str) -> None:
    calls = [node for node in descendants(template(name).tree) if node.type == "call_expression"]
    inside = [call for call in calls if call.parent is not None and call.parent.type != "decorator"]
    assert {_text(call.named_children[0]) for call in inside} <= FUNCTIONS


@pytest.mark.parametrize(
    ("name", "symbol"), [(read.name, symbol) for read in templates() for symbol in read.modules], ids=str
)
def test_a_module_is_given_the_parameters_it_takes(name: str, symbol: str) -> None:
    module = template(name).modules[symbol]
    takes = template(module.path).parameters
    required = {parameter.name for parameter in takes.values() if parameter.default is None}
    assert required <= set(module.parameters) <= set(takes)


@pytest.mark.parametrize("name", FILES)
def test_outputs_of_modules_exist(name: str) -> None:
    read = template(name)
    for symbol, output in re.findall(r"(\w+)!?\.outputs\.(\w+)", _text(read.tree)):
        assert output in template(read.modules[symbol].path).outputs, f"{symbol}.outputs.{output}"


@pytest.mark.parametrize("name", sorted({*FILES} - {"main.bicep"}))
def test_every_file_is_used(name: str) -> None:
    used = {module.path for read in templates() for module in read.modules.values()}
    assert name in used | {path for read in templates() for path in read.imports.values()}


@pytest.mark.parametrize("name", FILES)
def test_modules_are_files_of_ours(name: str) -> None:
    assert {module.path for module in template(name).modules.values()} <= set(FILES)


@pytest.mark.parametrize(
    ("name", "parent"), [("event-hub.bicep", "namespace"), ("storage.bicep", "account")], ids=["event-hub", "storage"]
)
def test_children_of_what_takes_one_change_at_a_time_wait_for_each_other(name: str, parent: str) -> None:
    children = [symbol for symbol, each in template(name).resources.items() if each.type.count("/") > 1]
    waits = {
        symbol: {part.text for part in [body.get("parent"), *body.get("dependsOn", [])] if part}
        for symbol in children
        for body in [template(name).resources[symbol].body]
    }
    for earlier, later in itertools.pairwise(children):
        assert earlier in waits[later], f"{later} would be created while {earlier} is"
    assert waits[children[0]] == {parent}
