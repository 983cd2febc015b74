"""How a path fails: when it is compiled. On a document it never does; it finds something or nothing."""


class PathInvalid(ValueError):
    """A path that does not parse.

    `position` counts characters of the path from 0: where the text stops making sense.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
