"""The two languages as a mapping uses them: what an expression sees besides the message, and how it fails."""

from typing import Final

from medtech.jmespath.errors import ExpressionFailed, ExpressionInvalid
from medtech.jsonpath.errors import PathInvalid

MATCHED_TOKEN: Final = "matchedToken"
"""The name under which the expressions of CalculatedContent see the token that the template matched."""


class SeveralTokens(ValueError):
    """A path found several tokens where one is needed."""

    def __init__(self) -> None:
        super().__init__("finds several values where one is needed")


INVALID: Final = (PathInvalid, ExpressionInvalid)
"""What is raised for an expression that does not parse; each has a `message` and a `position`."""

EvaluationFailed = ExpressionFailed | SeveralTokens
FAILED: Final = (ExpressionFailed, SeveralTokens)
"""What is raised when an expression fails on a message; none of them names a value of it."""
