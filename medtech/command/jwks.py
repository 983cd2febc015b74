"""`python -m medtech jwks`: what a FHIR server must know of the app's key, to be registered there."""

import json
from pathlib import Path
from typing import Annotated

import typer


def jwks(
    key: Annotated[
        Path, typer.Argument(help="A file with the private key, PEM or JWK.", metavar="FILE", dir_okay=False)
    ],
) -> None:
    """Print the public key of a private one (FHIR_CLIENT_KEY) as a JSON Web Key Set.

    Its `kid` is the one that the app's assertions name. It holds nothing secret.
    """
    from medtech.client_key import ClientKey, UnusableKey

    try:
        read = ClientKey.read(key.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{key} cannot be read: {type(error).__name__}.", param_hint="FILE") from None
    except UnusableKey as error:
        raise typer.BadParameter(f"{key} is unusable. {error}", param_hint="FILE") from None
    typer.echo(json.dumps({"keys": [read.public_jwk()]}, indent=2))
