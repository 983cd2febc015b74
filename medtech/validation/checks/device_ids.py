"""Device ids that are something else."""

from collections.abc import Iterator
from typing import Any

from medtech.dotnet.tokens import is_date
from medtech.validation.finding import Finding, Name, warning
from medtech.validation.trial import Trial


def not_plausible(trial: Trial) -> Iterator[Finding]:
    """A device id that is read from a date, a fraction or a boolean, or that has blanks around it."""
    for template in trial.device.templates:
        origin = template.device_id.origin
        found = [
            (match.message_index, what)
            for match, token in trial.tokens(template, template.device_id)
            if (what := _oddity(token)) is not None
        ]
        if found:
            number, what = found[0]
            yield warning(
                Name.DEVICE_ID_NOT_PLAUSIBLE,
                f"The device ids of the type '{template.type}' that {origin.expression} finds {what}. Look at what it "
                "finds, or at what the device sends.",
                trial.pair.place_of(origin),
                seen_count=len(found),
                message_index=number,
            )


def _oddity(token: Any) -> str | None:
    if is_date(token):
        return "are dates, which become ids such as '03/12/2022 10:00:00'"
    if isinstance(token, bool):
        return "are true or false"
    if isinstance(token, float):
        return "are fractions, which are written as .NET does, so that 1.0 and 1 are one device"
    if isinstance(token, str) and token.strip() and token != token.strip():
        return "have blanks around them, which servers cut off when they search"
    return None
