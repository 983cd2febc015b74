"""What the two expression languages, JSONPath and JMESPath, have in common: how they fail."""


class ExpressionInvalid(ValueError):
    """An expression that does not parse, found when the mapping is loaded.

    `position` counts characters of the expression from 0: where the text stops making sense.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class EvaluationFailed(ValueError):
    """An expression that a message made fail.

    The message names the function, the argument and the types, never a value: it goes to logs.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
