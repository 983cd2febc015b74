"""Expressions of ARM templates, as far as they need no Azure."""

import json
from typing import Any

import pytest

from medtech.dotnet.json_reader import Node, parse_located
from medtech.importing.document import section_of
from medtech.importing.expression import Deployment, Scope, Unknown, unknown_in
from medtech.importing.mapping_text import TooLong, mapping_text
from tests.importing.resources import SUBSCRIPTION

TEMPLATE = {
    "parameters": {
        "name": {"type": "string", "defaultValue": "ward7"},
        "given": {"type": "string", "defaultValue": "default"},
        "unset": {"type": "string", "defaultValue": "by default"},
        "absent": {"type": "string"},
        "key": {"type": "secureString", "defaultValue": "hunter2"},
        "mapping": {"type": "object", "defaultValue": {"a": {"b": [1, "x"]}}},
    },
    "variables": {
        "host": "[concat(parameters('name'), '.servicebus.windows.net')]",
        "$fxv#0": '{"templateType": "CollectionContent"}',
        "itself": "[concat(variables('itself'), 'x')]",
        "ping": "[variables('pong')]",
        "pong": "[variables('ping')]",
    },
}
DEPLOYED = Deployment(SUBSCRIPTION, "rg")


def scope(template: Any = TEMPLATE, deployment: Deployment = DEPLOYED) -> Scope:
    given = {"GIVEN": parse_located('"by file"'), "unset": parse_located("null")}
    return Scope(section_of(parse_located(json.dumps(template))), given, deployment)


def resolved(expression: Any, deployment: Deployment = DEPLOYED) -> Node:
    return scope(deployment=deployment).resolved(parse_located(json.dumps(expression)))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("plain", "plain"),
        ("[[escaped]", "[escaped]"),
        ("[0] of a path", "[0] of a path"),
        ("$..[?(@a)]", "$..[?(@a)]"),
        ("[parameters('name')]", "ward7"),
        ("[parameters('NAME')]", "ward7"),
        ("[parameters('given')]", "by file"),
        ("[variables('host')]", "ward7.servicebus.windows.net"),
        ("[format('{0}-{1}', parameters('name'), 7)]", "ward7-7"),
        ("[format('{{0}}{0}', 'a')]", "{0}a"),
        ("[concat('it''s', ' ', toUpper('a'), toLower('B'))]", "it's Ab"),
        ("[parameters('mapping').a.b[1]]", "x"),
        ("[parameters('mapping')['a'].b[0]]", 1),
        ("[json(variables('$fxv#0')).templateType]", "CollectionContent"),
        ("[createObject('a', 'b').a]", "b"),
        ("[createArray('a', 'b')[1]]", "b"),
        ("[if(equals(parameters('name'), 'ward7'), 'a', 'b')]", "a"),
        ("[and(true(), not(false()), or(false(), empty('')))]", True),
        ("[if(empty(parameters('mapping')), 1, 2)]", 2),
        ("[if(true(), 'a', reference('x').y[0])]", "a"),
        ("[if(false(), listKeys(concat('(', 'x'), '2021').keys[0], 'b')]", "b"),
        ("[equals(1, '1')]", False),
        ("[parameters('unset')]", "by default"),
        (
            "[resourceId('Microsoft.A/b/c', 'n', 'm')]",
            f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.A/b/n/c/m",
        ),
        ("[resourceId('s', 'g', 'Microsoft.A/b', 'n')]", "/subscriptions/s/resourceGroups/g/providers/Microsoft.A/b/n"),
        ("[replace(format('hw-{0}', 'ward-7'), '-', '')]", "hwward7"),
        ("[split('hub/ward/7', '/')[1]]", "ward"),
        ("[last(split('hub/ward,7', createArray('/', ',')))]", "7"),
        ("[first('ward')]", "w"),
        ("[join(createArray('a', 'b'), '-')]", "a-b"),
        ("[substring(trim(' ward7 '), 0, 4)]", "ward"),
        ("[if(contains(parameters('mapping'), 'A'), 1, 2)]", 1),
        ("[if(contains(createArray('a', 1), '1'), 1, 2)]", 2),
        ("[if(contains('abc', 'bc'), length('ab'), length(createArray()))]", 2),
        ("[coalesce(tryGet(parameters('mapping'), 'a', 'c'), null(), 'x')]", "x"),
        ("[tryGet(parameters('mapping'), 'a', 'b', 1)]", "x"),
        ("[resourceGroup().name]", "rg"),
        ("[subscription().subscriptionId]", SUBSCRIPTION),
    ],
)  # fmt: skip
def test_an_expression_has_the_value_that_a_deployment_gives_it(expression: str, value: Any) -> None:
    found = resolved(expression).value
    assert found == value
    assert not isinstance(found, Unknown)


@pytest.mark.parametrize(
    "expression",
    [
        "[parameters('absent')]",
        "[parameters('key')]",
        "[parameters('nowhere')]",
        "[variables('itself')]",
        "[variables('ping')]",
        "[reference('x').name]",
        "[listKeys('x', '2021').keys[0]]",
        "[concat('a', uniqueString('b'))]",
        "[format('{1}', 'a')]",
        "[format('{99999999999999999999}', 'a')]",
        "[json('{')]",
        "[resourceId('Microsoft.A/b', 'n', 'm')]",
        "[createObject('a')]",
        "[if('true', 'a', 'b')]",
        "[equals(parameters('mapping'), 'a')]",
        "[and(true(), parameters('nowhere'))]",
        "[replace('a', '', 'b')]",
        "[split('a', '')]",
        "[substring('a', 0, 2)]",
        "[first(createObject())]",
        "[join('a', '-')]",
        "[tryGet()]",
        "[if(false(), 'a', reference('x').y)]",
        "[if(empty(reference('x')), 'a', 'b')]",
        "[coalesce(reference('x').y, 'a')]",
        "[if(true(), 'a', reference('x')]",
        "[tryGet(createArray(reference('x')), 0)]",
        "[parameters('name')]x]",
        "[']",
        "[]",
        "[" + "toLower(" * 5000 + "]",
    ],
)
def test_what_cannot_be_evaluated_is_unknown_at_its_place(expression: str) -> None:
    unknown = unknown_in(resolved({"a": [expression]}))
    assert unknown is not None
    assert unknown.pointer == "/a/0"


def test_what_needs_the_place_of_a_deployment_is_unknown_without_it() -> None:
    for expression in ("[resourceGroup().name]", "[subscription().id]", "[resourceId('Microsoft.A/b', 'n')]"):
        assert isinstance(resolved(expression, Deployment()).value, Unknown)


def doubling(last: str, combine: str) -> Scope:
    variables = {"v0": last} | {f"v{n}": combine.format(f"variables('v{n - 1}')") for n in range(1, 45)}
    return scope({"variables": variables})


def test_texts_that_double_each_other_end_at_a_bound() -> None:
    doubled = doubling("x", "[concat({0}, {0})]").resolved(parse_located("\"[variables('v44')]\""))
    assert isinstance(doubled.value, Unknown)
    replaced = doubling("xx", "[replace({0}, 'x', {0})]").resolved(parse_located("\"[variables('v44')]\""))
    assert isinstance(replaced.value, Unknown)
    empty = doubling("", "[concat({0}, {0})]").resolved(parse_located("\"[variables('v44')]\""))
    assert empty.value == ""


def test_lists_that_hold_each_other_twice_are_neither_walked_nor_written_for_ever() -> None:
    doubled = doubling("x", "[createArray({0}, {0})]").resolved(parse_located("\"[variables('v44')]\""))
    assert unknown_in(doubled) is None
    with pytest.raises(TooLong):
        mapping_text(doubled)
