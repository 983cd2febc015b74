"""How a path fails: when it is compiled, or on a document."""


class PathInvalid(ValueError):
    """A path that does not parse.

    `position` counts characters of the path from 0: where the text stops making sense.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class PathFailed(ValueError):
    """A path that fails on a document. The message never holds a value of the document, because it goes to logs."""
