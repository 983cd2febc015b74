"""How an expression fails: when it is compiled, or on a document."""


class ExpressionInvalid(ValueError):
    """An expression that does not parse, or that calls a function as it cannot be called.

    `position` counts characters of the expression from 0: where the text stops making sense.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class ExpressionFailed(ValueError):
    """An expression that a document made fail.

    The message names the function, the argument and the types, never a value: it goes to logs.
    """
