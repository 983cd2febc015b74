"""One data point of SampledData.data (FHIR R4): a number, or a letter that says why there is none."""

import re

from medtech.dotnet.decimals import MAX_DIGITS, NotANumber, is_plain, parse, plain

_SAMPLE = re.compile(r"-?[0-9]*\.?[0-9]+", re.ASCII)
"""A number as SampledData.data takes it."""

_SPECIAL_SAMPLES = frozenset("EUL")
"""Error, above the upper limit, below the lower limit (FHIR R4, SampledData.data)."""


def sample(text: str) -> str:
    """A reading as one data point of SampledData: `E`, `U`, `L`, or a number.

    What SampledData allows stays as it came (`.5`); any other number is written as a plain decimal. Raises NotANumber.
    """
    if text.isdigit() and text.isascii() and len(text) <= MAX_DIGITS:
        return text  # without a call, since there is one for each reading
    if is_plain(text) or text in _SPECIAL_SAMPLES:
        return text
    number = parse(text)
    return text if _SAMPLE.fullmatch(text) else plain(number)


def same_sample(one: str, other: str) -> bool:
    """Whether two data points say the same; numbers by value: `80` and `80.0` do."""
    if one == other:
        return True
    try:
        return parse(one) == parse(other)
    except NotANumber:
        return False
