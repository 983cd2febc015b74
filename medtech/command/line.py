"""`python -m medtech`: the product on the command line.

Each command imports what it needs when it runs, so that `--help` returns at once.
"""

import typer

from medtech.command import dead_letters, mapping
from medtech.command.jwks import jwks
from medtech.command.replay import replay
from medtech.command.settings import settings
from medtech.command.simulate import simulate
from medtech.command.status import status

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Device messages to FHIR R4 Observations."""


app.add_typer(mapping.app, name="mapping")
app.add_typer(dead_letters.app, name="dead-letters")
app.command()(settings)
app.command()(status)
app.command()(simulate)
app.command()(replay)
app.command()(jwks)
