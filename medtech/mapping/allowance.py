"""How many steps the expressions of a device mapping may take on one message (SPEC, divergence 26).

The most that a sensible mapping needs grows with the message, and where each template looks for its matches by itself,
with the templates as well. The figures leave ten times what ordinary mappings take; a test holds the workloads of
`bench` to that.
"""

from typing import Final

BASE_STEPS: Final = 1_000_000
"""However small the message: about 0.1 s."""

STEPS_A_BYTE: Final = 20
STEPS_A_BYTE_AND_TEMPLATE: Final = 6

MOST_STEPS: Final = 64_000_000
"""However large the message. With more, one message could take a minute, and the memory of a small instance."""


def steps_a_byte(templates: int) -> int:
    """What each byte of the body adds."""
    return STEPS_A_BYTE + STEPS_A_BYTE_AND_TEMPLATE * templates
