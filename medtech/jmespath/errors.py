"""How an expression can fail: when it is compiled, or on a document."""


class ExpressionInvalid(ValueError):
    """An expression that does not parse, or that calls a function in a way that can never work.

    `position` is where the text stops making sense, in characters of the expression from 0.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class ExpressionFailed(ValueError):
    """An expression that fails on a document.

    The message goes to logs: it names the function, the argument and the types, never a value.
    """
