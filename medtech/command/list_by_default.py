"""A group of commands that lists if no command is named."""

from typing import Any

from typer.core import TyperGroup


class ListByDefault(TyperGroup):
    """A group whose first command is `list` if none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # A shell that completes the name of a command has none to parse yet.
        if not ctx.resilient_parsing and (not args or (args[0].startswith("-") and args[0] != "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)
