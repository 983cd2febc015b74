"""Prints the table of parameters for docs/deploy.md."""

from tests.infra import parameter_table

print("\n".join(parameter_table.lines()))
