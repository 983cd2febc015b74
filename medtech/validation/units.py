"""Units of UCUM: which texts are its codes, and what others probably mean.

Source: the grammar and the units of UCUM 2.1, which the package ucumvert has. It is imported when a unit is looked at:
nothing else in the app needs it.
"""

from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

_LONGEST = 50
"""Characters; no unit is longer, and the grammar is not asked about a text."""

USUAL_MISTAKES: Final = MappingProxyType(
    {
        "beats": "{beats}",
        "beats/min": "/min",
        "beats/minute": "/min",
        "bpm": "/min",
        "breaths/min": "/min",
        "breaths/minute": "/min",
        "c": "Cel",
        "celsius": "Cel",
        "count": "{count}",
        "count/min": "/min",
        "counts": "{count}",
        "days": "d",
        "db(spl)": "dB[SPL]",
        "degc": "Cel",
        "degf": "[degF]",
        "degrees": "deg",
        "f": "[degF]",
        "fahrenheit": "[degF]",
        "hours": "h",
        "hour": "h",
        "inches": "[in_i]",
        "kgs": "kg",
        "kilograms": "kg",
        "lb": "[lb_av]",
        "lbs": "[lb_av]",
        "meter": "m",
        "meters": "m",
        "mmhg": "mm[Hg]",
        "minute": "min",
        "minutes": "min",
        "percent": "%",
        "rpm": "/min",
        "second": "s",
        "seconds": "s",
        "steps": "{steps}",
        "unitless": "1",
        "°c": "Cel",
        "°f": "[degF]",
    }
)
"""By the unit in lower case. What is a code of UCUM as well (`C`, coulomb) is only known to be wrong where a profile
asks for another."""


def is_ucum(unit: str) -> bool:
    """Whether a text is a code of UCUM."""
    return len(unit) <= _LONGEST and _parses(unit)


def probable_unit(unit: str) -> str | None:
    """The code of UCUM that is probably meant; None where nobody can tell."""
    return USUAL_MISTAKES.get(unit.strip().lower())


@lru_cache(maxsize=512)
def _parses(unit: str) -> bool:
    from lark.exceptions import LarkError

    try:
        _parser().parse(unit)
    except LarkError:
        return False
    return True


@lru_cache(maxsize=1)
def _parser() -> Any:
    from ucumvert import get_ucum_parser

    return get_ucum_parser()
