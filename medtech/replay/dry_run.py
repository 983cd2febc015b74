"""What a replay would take, and what the mapping in force makes of some of it; nothing is stored."""

from collections import Counter
from itertools import islice
from typing import NamedTuple

from medtech.dead_letter.causes import Causes
from medtech.dead_letter.letter import Kind
from medtech.dead_letter.selection import Selection
from medtech.dead_letter.store import DeadLetters
from medtech.deadline import seconds_left
from medtech.errors import BufferCorrupt, OutOfTime
from medtech.model import DeviceEvent
from medtech.normalize.batch import Normalizer
from medtech.replay.today import Places, replay_event

SAMPLE_LETTERS = 200

MAX_LETTERS = 100_000
"""Counted; a selection of more is not counted to its end."""


class Sample(NamedTuple):
    """What became of the first messages of the selection: put through, or failed again by (error, stage)."""

    messages: int
    put_through: int
    failed_again: Counter[tuple[str, str]]


class DryRun(NamedTuple):
    """`causes` are of all letters that were counted, all of them if `complete`. `held` are in other jobs' hands, `rows`
    are damaged rows, which cannot be replayed. `sample` is None while no mapping is in force."""

    causes: Causes
    complete: bool
    held: int
    rows: int
    sample: Sample | None


def dry_run(dead_letters: DeadLetters, selection: Selection, mapping: Normalizer | None, places: Places) -> DryRun:
    """Ends a little before the deadline in force, with what was counted until then. Raises StorageUnavailable."""
    sample = None if mapping is None else _sample(dead_letters, selection, mapping, places)
    causes, complete, held, rows = Causes(), True, 0, 0
    try:
        for letter in dead_letters.select(selection):
            if causes.letters == MAX_LETTERS:
                complete = False
                break
            causes.add(letter)
            held += bool(letter.job)
            rows += letter.kind == Kind.ROW
    except OutOfTime:
        complete = False
    return DryRun(causes, complete, held, rows, sample)


def _sample(dead_letters: DeadLetters, selection: Selection, mapping: Normalizer, places: Places) -> Sample:
    messages = put_through = 0
    failed: Counter[tuple[str, str]] = Counter()
    enough = seconds_left() / 2
    for _, letter in islice(dead_letters.select_letters(selection), SAMPLE_LETTERS):
        if seconds_left() < enough:
            break
        if isinstance(letter, BufferCorrupt) or not isinstance(letter.content, DeviceEvent):
            continue
        messages += 1
        today = replay_event(letter, letter.content, mapping, places)
        put_through += not today.failed
        failed.update({(each.error, each.stage) for each in today.failed})
    return Sample(messages, put_through, failed)
