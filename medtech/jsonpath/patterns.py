"""Regular expressions as .NET reads them, run by the `regex` package, which can be stopped.

The two read most syntax alike. The rest is either written the other way here (`\\Z`, `\\e`, `\\k<name>`, a brace
that is meant as text) or refused, with what to write instead: no pattern changes its meaning silently. A pattern is
read by .NET's grammar, so that what `regex` adds to it (fuzzy matching, possessive quantifiers, recursion, set
operations) never comes into effect; tests/jsonpath/patterns.json lists the syntax and what becomes of it.

Differences that remain: `regex` sees characters where .NET sees UTF-16 code units, so `.` is a whole emoji, and in
`\\w` and without regard to case a few rare characters count differently.
"""

import math
import re
import time
from typing import Final, TypeAlias

import regex

from medtech.evaluation_budget import CHARACTERS_A_STEP, EvaluationBudget

Pattern: TypeAlias = regex.Pattern[str]

MOST_NESTED_REPETITIONS: Final = 8
"""`regex` reads `x+` as `xx*`, so each `+` around another doubles what it compiles; twenty take a gigabyte."""

MOST_COPIES: Final = 10_000
"""`regex` writes `(?:x{1000}){1000}` out as a million `x`, of 400 bytes each; so that is what a pattern may come to."""

_STEPS_A_SEARCH: Final = 20


class PatternInvalid(ValueError):
    """A text that is not a regular expression, or one that would not mean what it means in .NET.

    `position` counts characters of the text from 0: where the text stops making sense, 0 if that is not known.
    """

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


def compile_pattern(text: str) -> Pattern:
    """The expression of `/pattern/options`; raises PatternInvalid.

    The options i, m and s mean what they mean in .NET, x is .NET's ExplicitCapture; any other letter changes nothing.
    """
    end = text.rfind("/")
    if end < 1:
        raise PatternInvalid("a regular expression is written /pattern/ or /pattern/i")
    options = text[end + 1 :]
    flags = regex.VERSION0
    for letter, flag in (("i", regex.IGNORECASE), ("m", regex.MULTILINE), ("s", regex.DOTALL)):
        flags |= flag if letter in options else 0
    translated = _Translator(text[:end], explicit_capture="x" in options, ignores_case="i" in options).pattern()
    try:
        # The pattern belongs to the path that holds it, not to the package's own cache.
        return regex.compile(translated, flags, cache_pattern=False)
    except (regex.error, OverflowError, RecursionError) as error:
        reason = error.msg if isinstance(error, regex.error) else "it is too large"
        raise PatternInvalid(f"the regular expression is malformed: {reason}") from None


def search(pattern: Pattern, text: str, budget: EvaluationBudget) -> bool:
    """Whether the text holds a match; raises BudgetSpent when this and the searches before it take too long."""
    budget.charge(_STEPS_A_SEARCH + len(text) // CHARACTERS_A_STEP)
    # Charged is the thread's own time, so that harmless searches do not add up to the limit on a busy machine. The
    # engine's timeout goes by the clock: it ends a search that by itself takes all that is left.
    seconds = budget.regex_seconds_left
    started = time.thread_time()
    try:
        found = pattern.search(text, timeout=None if seconds == math.inf else seconds) is not None
        spent = time.thread_time() - started
    except TimeoutError:
        found, spent = False, seconds
    budget.charge_regex(spent)
    return found


_CATEGORIES = re.compile("L[ultmo]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?|C[cfson]?")
_CASED_CATEGORIES = frozenset({"Lu", "Ll", "Lt"})
_QUANTIFIER = re.compile(r"[*+?]|\{[0-9]+(?:,[0-9]*)?\}")
_FUZZY = re.compile(r"\{(?:,[0-9]*|[0-9]*(?:<=?[0-9]*)?[deis](?![A-Za-z])[^}]*)\}")
_GROUP = re.compile(r"\?(?:[:=!>]|<[=!])")
_NAMED_GROUP = re.compile(r"\?(?:<([^\W\d]\w*)>|'([^\W\d]\w*)')")
_BALANCING_GROUP = re.compile(r"\?[<']\w*-")
_CONDITION = re.compile(r"\?\((?:([0-9]+)|[^\W\d]\w*)\)")
_LOOK_AROUND = re.compile(r"\(\?<?[=!]")
_OPTIONS = re.compile(r"\?(?:[ims]+(?:-[ims]+)?|-[ims]+)[:)]")
_OTHER_OPTIONS = re.compile(r"\?[imnsxIMNSX+-]*[:)]")
_POSIX = re.compile(r"\[:[^\]]*:\]")
_NAMED_REFERENCE = re.compile(r"k(?:<(\w+)>|'(\w+)')")
_OLD_REFERENCE = re.compile(r"<\w+>|'\w+'")
_OCTAL = re.compile(r"[0-7]{1,3}")
_CATEGORY = re.compile(r"[pP]\{(\w+)\}")
_CONTROL = re.compile(r"c([A-Za-z@\[\\\]^_])")
_UNICODE = re.compile(r"u([0-9a-fA-F]{4})")
_HALF_CHARACTER = range(0xD800, 0xE000)
_CLASSES = frozenset("dDsSwW")
_SAME_CHARACTERS = frozenset("afnrtvx")
_SAME_ANCHORS = frozenset("bBAG")


class _Translator:
    """Reads a pattern by .NET's grammar and writes it for `regex`."""

    def __init__(self, text: str, *, explicit_capture: bool, ignores_case: bool) -> None:
        self._text = text
        self._at = 1  # after the slash that opens the pattern
        self._pieces: list[str] = []
        self._explicit_capture = explicit_capture
        self._has_names = self._has_numbers = False
        self._ignores_case = ignores_case
        self._numbered_reference: int | None = None
        self._cased_category: int | None = None
        # How deep repetitions are nested: in each open group so far, and in the group that has just been closed.
        self._repetitions = [0]
        self._repetitions_closed = 0
        # How many characters and sets are written out: in each open group so far, and in what a quantifier repeats.
        self._copies = [0]
        self._copies_repeated = 0

    def pattern(self) -> str:
        text = self._text
        while self._at < len(text):
            character = text[self._at]
            quantifier = None
            if character == "\\":
                self._pieces.append(self._escape())
            elif character == "[":
                self._set()
            elif character == "(":
                self._open_group()
            elif character == ")":
                self._close_group()
                continue
            elif quantifier := _QUANTIFIER.match(text, self._at):
                self._quantifier(quantifier[0])
            elif character == "{":
                self._brace()
            else:
                self._take(character)
            self._repetitions_closed = 0
            if not quantifier and character != "(":
                self._write_out(1)
        self._check_numbers()
        self._check_categories()
        return "".join(self._pieces)

    def _take(self, written: str, length: int | None = None) -> None:
        """Writes a piece and skips the source that it translates: `length` characters, by default its own length."""
        self._pieces.append(written)
        self._at += len(written) if length is None else length

    def _quantifier(self, quantifier: str) -> None:
        if self._text.startswith("+", self._at + len(quantifier)):
            raise self._refused(f"{quantifier}+ is not .NET syntax: write (?>...{quantifier}), or remove the +")
        nested = self._repetitions_closed + 1
        if nested > MOST_NESTED_REPETITIONS:
            raise self._refused(f"repetitions are nested more than {MOST_NESTED_REPETITIONS} deep: write fewer")
        self._repetitions[-1] = max(self._repetitions[-1], nested)
        least = "2" if quantifier == "+" else quantifier.strip("{}").partition(",")[0]
        if least.isdecimal() and int(least) > 1:
            repeated = self._copies_repeated
            self._write_out(repeated * (int(least) - 1))
            self._copies_repeated = repeated * int(least)
        self._take(quantifier)

    def _write_out(self, copies: int) -> None:
        self._copies[-1] += copies
        self._copies_repeated = copies
        if self._copies[-1] > MOST_COPIES:
            raise self._refused(f"written out, its repetitions come to more than {MOST_COPIES:,} characters: use fewer")

    def _close_group(self) -> None:
        self._take(")")
        if len(self._repetitions) > 1:  # one that nothing opened is refused when the pattern is compiled
            self._repetitions_closed = self._repetitions.pop()
            self._repetitions[-1] = max(self._repetitions[-1], self._repetitions_closed)
            self._write_out(1 + self._copies.pop())

    def _brace(self) -> None:
        found = _FUZZY.match(self._text, self._at)
        if found is not None:
            raise self._refused(f"{found[0]} is not a number of repetitions: write \\{found[0]} if it is meant as text")
        self._take("\\{", 1)

    def _open_group(self) -> None:
        text, inside = self._text, self._at + 1
        written = len(self._pieces)
        self._open(text, inside)
        opened = self._pieces[-1] if len(self._pieces) > written else ""
        if opened.count("(") > opened.count(")"):
            self._repetitions.append(0)
            self._copies.append(0)

    def _open(self, text: str, inside: int) -> None:
        if text.startswith("?#", inside):
            end = text.find(")", inside)
            if end < 0:
                raise self._refused("the comment is not closed")
            self._at = end + 1
            if self._would_join():
                raise self._refused("the comment separates what would become one: write the pattern without it")
        elif text.startswith("*", inside):
            raise self._refused("(* is not .NET syntax: write (\\* if the star is meant as text")
        elif not text.startswith("?", inside):
            self._has_numbers = True
            self._take("(")
        elif named := _NAMED_GROUP.match(text, inside):
            self._has_names = True
            self._take(f"(?P<{named[1] or named[2]}>", 1 + len(named[0]))
        elif condition := _CONDITION.match(text, inside):
            if condition[1]:
                self._refers_by_number()
            self._take(f"({condition[0]}")
        elif text.startswith("?(", inside):
            if not _LOOK_AROUND.match(text, inside + 1):
                raise self._refused("this condition is not supported: write (?(?=...)yes|no)")
            self._take("(?")
        elif same := _GROUP.match(text, inside):
            self._take(f"({same[0]}")
        elif options := _OPTIONS.match(text, inside):
            self._ignores_case = self._ignores_case or "i" in options[0].partition("-")[0]
            self._take(f"({options[0]}")
        else:
            raise self._unknown_group(inside)

    def _would_join(self) -> bool:
        """Whether what stands here means something else right after what is written: `a+(?#c)+`, `\\1(?#c)0`."""
        before = self._pieces[-1] if self._pieces else ""
        if _QUANTIFIER.match(self._text, self._at):
            return _QUANTIFIER.fullmatch(before) is not None or before.startswith("(")
        return before.startswith("\\") and self._text[self._at : self._at + 1].isdecimal()

    def _unknown_group(self, inside: int) -> PatternInvalid:
        text = self._text
        if _BALANCING_GROUP.match(text, inside):
            return self._refused("balancing groups, (?<name-other>...), are not supported: write the pattern without")
        if text[inside + 1 : inside + 2] in ("<", "'"):
            return self._refused("a group's name must start with a letter or _: numbered groups are not supported")
        if _OTHER_OPTIONS.match(text, inside):
            return self._refused("of the options inside a pattern only i, m and s are supported, as (?i) or (?i-m:...)")
        return self._refused(f"({text[inside : inside + 2]} is not .NET syntax: write (?:...) or (?<name>...)")

    def _set(self) -> None:
        """A set in brackets. Each literal is escaped, so that no two of them become an operator."""
        text, start = self._text, self._at
        self._take("[")
        if text.startswith("^", self._at):
            self._take("^")
        first, in_range = True, False
        while self._at < len(text):
            character = text[self._at]
            if character == "]" and not first:
                self._take("]")
                return
            if character == "-" and text.startswith("-[", self._at) and not first:
                raise self._refused(
                    "subtracting from a set, [a-[b]], is not supported: write (?![b])[a] for it", self._at
                )
            if _POSIX.match(text, self._at):
                raise self._refused("[:name:] is not .NET syntax: write \\p{L} for letters, \\d for digits", self._at)
            single = self._set_member(in_range=in_range)
            first = False
            in_range = single and not in_range and self._opens_range()
            if in_range:
                self._take("-")
        self._at = start
        raise self._refused("the set is not closed with ]")

    def _set_member(self, *, in_range: bool) -> bool:
        """Writes one member of a set; returns whether it is a single character, which may open a range."""
        character = self._text[self._at]
        if character != "\\":
            self._take(f"\\{character}" if character in "[]^-&|~" else character, 1)
            return True
        kind = self._text[self._at + 1 : self._at + 2]
        if (kind in _CLASSES or kind in ("p", "P")) and in_range:
            raise self._refused(f"\\{kind} cannot end a range: write the - as \\-")
        self._pieces.append(self._escape(in_set=True))
        # After an escaped - .NET starts no range either.
        return not (kind in _CLASSES or kind in ("p", "P", "-"))

    def _opens_range(self) -> bool:
        """Whether a range goes on here; a - before the closing bracket is a character, one before [ subtracts."""
        text, at = self._text, self._at
        return text.startswith("-", at) and text[at + 1 : at + 2] not in ("]", "[", "")

    def _escape(self, *, in_set: bool = False) -> str:
        """What is written for the escape here, which is then passed."""
        text, start = self._text, self._at
        at = start + 1
        if at == len(text):
            raise self._refused("the regular expression ends with a backslash")
        kind = text[at]
        self._at = at + 1
        if kind in _CLASSES or kind in _SAME_CHARACTERS or (kind in _SAME_ANCHORS and not in_set):
            return f"\\{kind}"
        if kind == "b":
            return "\\b"  # in a set a backspace, in both
        if kind == "e":
            return "\\x1b"
        if kind in "zZ" and not in_set:
            return "\\Z" if kind == "z" else "(?=\\n?\\Z)"
        if kind in "pP":
            return self._category(start)
        if kind == "u":
            return self._unicode(start)
        if kind == "c" and (control := _CONTROL.match(text, at)):
            self._at = control.end()
            return f"\\x{ord(control[1].upper()) - ord('@'):02x}"
        if kind.isdecimal() and kind.isascii():
            return self._digits(start, in_set=in_set)
        if not in_set and (reference := _NAMED_REFERENCE.match(text, at)):
            self._at = reference.end()
            name = reference[1] or reference[2]
            if name.isdecimal():
                self._refers_by_number(start)
            return f"\\g<{name}>"
        if not in_set and (old := _OLD_REFERENCE.match(text, at)):
            raise self._refused(
                f"\\{old[0]} is a reference in .NET: write \\k{old[0]}, or {old[0]} for the text", start
            )
        if kind.isalnum() or kind == "_":
            raise self._refused(f"\\{kind} is not .NET syntax here: remove the backslash if {kind} is meant", start)
        return f"\\{kind}"

    def _category(self, start: int) -> str:
        found = _CATEGORY.match(self._text, start + 1)
        if found is None or not _CATEGORIES.fullmatch(found[1]):
            raise self._refused(
                "only general categories are supported after \\p, such as \\p{L} or \\p{Lu}: "
                "write a block as a range, [\\u0370-\\u03ff]",
                start,
            )
        if found[1] in _CASED_CATEGORIES:
            self._cased_category = start
        self._at = found.end()
        return f"\\{found[0]}"

    def _unicode(self, start: int) -> str:
        found = _UNICODE.match(self._text, start + 1)
        if found is None:
            raise self._refused("\\u is followed by four hexadecimal digits", start)
        if int(found[1], 16) in _HALF_CHARACTER:
            raise self._refused("\\u here is half a character: write the character itself", start)
        self._at = found.end()
        return f"\\{found[0]}"

    def _digits(self, start: int, *, in_set: bool) -> str:
        text = self._text
        octal = _OCTAL.match(text, start + 1)
        if octal is not None and (in_set or octal[0][0] == "0"):
            self._at = octal.end()
            return f"\\x{int(octal[0], 8) & 0xFF:02x}"
        if in_set:
            raise self._refused(f"\\{text[start + 1]} is not .NET syntax in a set", start)
        if text[self._at : self._at + 1].isdecimal():
            raise self._refused("a reference by more than one digit is not supported: name the group", start)
        self._refers_by_number(start)
        return f"\\{text[start + 1]}"

    def _refers_by_number(self, start: int | None = None) -> None:
        self._numbered_reference = self._at if start is None else start

    def _check_numbers(self) -> None:
        """.NET counts named groups after all others, and with the option x no other ones; `regex` does neither."""
        if self._numbered_reference is None or not self._has_numbers:
            return
        if self._explicit_capture or self._has_names:
            raise self._refused(
                "numbers of groups differ where some have names, or with the option x: refer to a group by its name",
                self._numbered_reference,
            )

    def _check_categories(self) -> None:
        """Without regard to case `regex` takes any letter that has a case for these; .NET goes by the category."""
        if self._cased_category is not None and self._ignores_case:
            raise self._refused(
                "\\p{Lu}, \\p{Ll} and \\p{Lt} are not supported without regard to case: write \\p{L}, or the pattern "
                "without the option i",
                self._cased_category,
            )

    def _refused(self, message: str, position: int | None = None) -> PatternInvalid:
        return PatternInvalid(message, self._at if position is None else position)
