"""Processes that really die: what a message costs that ends the process, and what becomes of its neighbours."""

import subprocess
import sys
from pathlib import Path

from medtech.dead_letter.store import DeadLetters
from medtech.group.buffer import Buffer
from medtech.ingest.attempts import TABLE
from medtech.storage.connection import Storage
from tests.ingest.mortal import NOON

_ROOT = Path(__file__).parents[2]
_DAY_LATER = NOON + 24 * 3600 * 10_000_000


def _deaths(connection: str, poison: str, lasts: str, *partitions: str) -> int:
    """Delivers until all is through; how many processes died."""
    command = [sys.executable, "-m", "tests.ingest.mortal", connection, poison, lasts, *partitions]
    ended = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True, timeout=300)
    assert "Traceback" not in ended.stderr, ended.stderr
    return int(ended.stdout)


def _stored(storage: Storage) -> list[tuple[str, int]]:
    """The sources of the measurements in the buffer, each once, as the flush sees them."""
    buffer = Buffer(storage)
    found = {
        (measurement.partition, measurement.sequence_number)
        for shard in buffer.shards()
        for window in buffer.due_windows(shard, _DAY_LATER, 300, 0)
        for portion in buffer.read(shard, window, 10**9)
        for measurement in portion.measurements()
    }
    return sorted(found)


def _letters(storage: Storage) -> list[tuple[str, int, int]]:
    """Error, sequence number and count."""
    return [
        (letter.error, int(letter.row_key.partition("|")[0]), letter.count) for letter in DeadLetters(storage).select()
    ]


def _attempts(storage: Storage) -> int:
    return sum(1 for _ in storage.table(TABLE).query("PartitionKey ne ''"))


def test_a_message_that_ends_the_process_becomes_a_letter(storage: Storage, azurite: str) -> None:
    assert _deaths(azurite, "3/4=crash", "9", "3") == 4
    assert _letters(storage) == [("PoisonMessage", 4, 1)]
    assert _stored(storage) == [("3", number) for number in range(10) if number != 4]
    assert _attempts(storage) == 0


def test_of_500_one_is_found_whatever_the_borders(storage: Storage, azurite: str) -> None:
    assert _deaths(azurite, "3/321=kill", "499,350,420,321,380", "3") <= 6
    assert [(error, number) for error, number, _ in _letters(storage)] == [("PoisonMessage", 321)]
    assert _stored(storage) == [("3", number) for number in range(500) if number != 321]
    assert _attempts(storage) == 0


def test_a_death_that_no_row_tells_of_costs_one_more(storage: Storage, azurite: str) -> None:
    """The first batch of a process goes through, the next one ends it."""
    assert _deaths(azurite, "3/100=exit", "49,549", "3") == 6
    assert _letters(storage) == [("PoisonMessage", 100, 1)]
    assert _stored(storage) == [("3", number) for number in range(550) if number != 100]


def test_four_in_one_batch_are_found(storage: Storage, azurite: str) -> None:
    poison = [0, 200, 201, 499]
    assert _deaths(azurite, " ".join(f"3/{number}=exit" for number in poison), "499", "3") <= 12
    assert _letters(storage) == [("PoisonMessage", number, 1) for number in poison]
    assert _stored(storage) == [("3", number) for number in range(500) if number not in poison]


def test_partitions_of_the_same_process_are_not_blamed(storage: Storage, azurite: str) -> None:
    others = [str(number) for number in range(4, 12)]
    assert _deaths(azurite, "3/0=exit", "9", "3", *others) <= 12
    assert _letters(storage) == [("PoisonMessage", 0, 1)]
    assert len(_stored(storage)) == 9 * 10 - 1
    assert _attempts(storage) == 0


def test_a_message_that_takes_more_memory_than_there_is_becomes_a_letter(storage: Storage, azurite: str) -> None:
    command = [sys.executable, "-m", "tests.ingest.short_of_memory", azurite]
    ended = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert [number for error, number, _ in _letters(storage) if error == "PoisonMessage"] == [1]
    assert _stored(storage) == [("3", 0), ("3", 2)]
