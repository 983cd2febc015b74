"""How much may be done to evaluate the expressions of a mapping on one message.

Some expressions take time or memory without bound on some messages: scans within scans, products of matches, texts made
of texts. So whatever grows with the message is counted while it is done, in *steps*, and the count has a limit. A step
is about 0.1 us of work, and at most 8 bytes that are kept. Time itself would not do: a busy machine would refuse what
an idle one takes. The same expressions on the same message always take the same number of steps.

Work is charged where it multiplies (what a scan visits, a projection's elements, the texts that a function reads) and
in bulk, for a whole list at once. What an expression does once, however long it is, is its static `weight`, which who
evaluates it many times charges.
"""

import math
from typing import Final

CHARACTERS_A_STEP: Final = 8
LONG_TEXT: Final = 256
"""Characters. Shorter texts are part of the work that handles them, and are not charged by length."""

DATE_STEPS: Final = 30
"""For each reading of a text that looks like a date: it is parsed, and often written in another form."""

REGEX_SECONDS: Final = 1.0
"""What the regular expressions of one message may take. The engine counts no steps, so this is CPU time."""


class BudgetSpent(Exception):
    """The evaluation of a message has reached its limit. The message says which, and holds nothing of the message.

    No language catches it: whatever was found so far is of no use.
    """


class EvaluationBudget:
    """The counter of one message. `left` may be lowered directly by who asks for less than 0 soon after."""

    # Every message makes one: without __slots__ and with this value in the class that takes half the time.
    regex_seconds_left: float = REGEX_SECONDS

    def __init__(self, steps: float) -> None:
        self.steps = self.left = steps

    @property
    def spent(self) -> float:
        return self.steps - self.left

    def charge(self, steps: int) -> None:
        """Raises BudgetSpent."""
        self.left -= steps
        if self.left < 0:
            raise BudgetSpent(f"takes the message past its {self.steps:,} steps")

    def charge_text(self, characters: int) -> None:
        """Charges a text that is read or made; raises BudgetSpent."""
        if characters > LONG_TEXT:
            self.charge(characters // CHARACTERS_A_STEP)

    def charge_reading(self, text: str) -> None:
        """Charges the reading of a string of a message; raises BudgetSpent."""
        if text[10:11] == "T" or text[:1] == "/":
            self.charge(DATE_STEPS)
        if len(text) > LONG_TEXT:
            self.charge(len(text) // CHARACTERS_A_STEP)

    def charge_regex(self, seconds: float) -> None:
        """Charges the time of a regular expression; raises BudgetSpent."""
        self.regex_seconds_left -= seconds
        if self.regex_seconds_left <= 0:
            raise BudgetSpent(f"takes the regular expressions of the message past their {REGEX_SECONDS:g} s")


UNBOUNDED: Final = EvaluationBudget(math.inf)
"""For expressions and documents of one's own."""
UNBOUNDED.regex_seconds_left = math.inf
