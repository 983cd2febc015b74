"""What the messages of one cause have in common, however many devices it is met on."""

import hashlib
import re

DIGITS = 8
"""Of a fingerprint, in hexadecimal: a table of a thousand causes has two alike once in ten thousand times."""

# What comes from a mapping, the app's own code or a status tells causes apart, and there is little of each. An
# alternative that begins a word takes all of it, so that no text is looked at twice.
_PART = re.compile(
    r"""
    (?P<kept> \b(?i:types?|values?|units?)\ '[^']*'(?!\w)
            | \bline\ [0-9]+\ of\ the\ device\ mapping
            | \bwith\ [1-5][0-9][0-9]\b
            | \b[a-z_]{1,60}\.py:[0-9]+\b
            | \bR4\b
            | \bUTF-(?:8|16)\b )
  | (?P<quoted> (?<!\w)'[^']*'(?!\w) | "[^"]*" )
  | (?P<address> \bhttps?://[^\s,;]*[^\s,;.:)] )
  | (?P<reference> \b[A-Z][A-Za-z]{1,60}/[A-Za-z0-9][A-Za-z0-9.-]*(?<!\.) )
  | (?P<word> \w+(?:[.:+%-]\w+)* )
    """,
    re.VERBOSE,
)
_REPEATED = re.compile(r"('…'|[A-Z]\w*/…|…|#)(?:(?:, | and )(?:'…'|[A-Z]\w*/…|…|#))+")


def shape(message: str) -> str:
    """A message with `…` for what it quotes, names by an id or counts, and `#` for other words that hold a digit."""
    return _REPEATED.sub(r"\1, …", _PART.sub(_general, message))


def fingerprint(stage: str, error: str, type: str, message_shape: str) -> str:
    """The name of a cause: the same in each version, while the text of its message is the same."""
    cause = "\n".join((stage, error, type, message_shape))
    return hashlib.sha256(cause.encode("utf-8", "replace")).hexdigest()[:DIGITS]


def _general(part: re.Match[str]) -> str:
    text = part[0]
    match part.lastgroup:
        case "quoted":
            return f"{text[0]}…{text[0]}"
        case "address":
            return "…"
        case "reference":
            return f"{text.partition('/')[0]}/…"
        case "word" if any(map(str.isdigit, text)):
            return "#"
    return text
