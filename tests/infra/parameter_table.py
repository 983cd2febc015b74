"""The table of main.bicep's parameters in docs/deploy.md. `python -m tests.infra` prints it."""

import re

from tests.infra.bicep import Parameter, template


def lines() -> list[str]:
    head = ["| parameter | default | allowed | meaning |", "|---|---|---|---|"]
    return head + [
        f"| `{each.name}` | {_default(each)} | {_allowed(each)} | {each.description} |"
        for each in template("main.bicep").parameters.values()
    ]


def _default(parameter: Parameter) -> str:
    if parameter.default is None:
        return "required"
    if parameter.default == "resourceGroup().location":
        return "the resource group's"
    if parameter.default == "''":
        return "empty"
    shortened = re.sub(r"\$\{.*\}", "…", parameter.default).strip("'")
    return f"`{shortened}`"


def _allowed(parameter: Parameter) -> str:
    if "allowed" in parameter.decorators:
        return ", ".join(f"`{choice}`" for choice in parameter.decorators["allowed"])
    if parameter.type == "bool":
        return "`true`, `false`"
    if parameter.minimum is None or parameter.maximum is None:
        return ""
    return f"{parameter.minimum} to {parameter.maximum}" + (" characters" if parameter.type == "string" else "")
