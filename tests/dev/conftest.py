"""The local host around the sample app, in processes of its own."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import Any

import pytest

from dev.running_host import RunningHost

APP = Path(__file__).parent / "apps" / "sample"

NEVER = "0 0 0 1 1 *"


class SampleHost(RunningHost):
    """The sample app, and what its functions were given. `tell` and `untell` make it fail or hold (see the app).

    `told` are words that apply from the start, for functions that may run before a test could `tell` them.
    """

    def __init__(
        self,
        folder: Path,
        schedule: str = NEVER,
        told: Sequence[str] = (),
        *,
        longest_wait_seconds: float = inf,
        **settings: str,
    ) -> None:
        self.observed = folder / "observed"
        self.observed.mkdir(exist_ok=True)
        for word in told:
            self.tell(word)
        sample = {
            "OBSERVED": str(self.observed),
            "HUB": "devicedata",
            "HubConnection": "Endpoint=sb://ns.local/;SharedAccessKeyName=a;SharedAccessKey=b",
            "SCHEDULE": schedule,
        }
        super().__init__(
            folder / "data",
            app_directory=APP,
            settings=sample | settings,
            longest_wait_seconds=longest_wait_seconds,
        )

    def seen(self, function: str) -> list[dict[str, Any]]:
        """What the function recorded, in order."""
        path = self.observed / f"{function}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def tell(self, word: str) -> None:
        (self.observed / word).touch()

    def untell(self, word: str) -> None:
        (self.observed / word).unlink()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., SampleHost]]:
    """Starts the sample app on a host of its own; a second start in a test reuses the data of the first."""
    with ExitStack() as opened:
        yield lambda **options: opened.enter_context(SampleHost(tmp_path, **options))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleHost]:
    """One host for those tests of a file that do not disturb each other."""
    with SampleHost(tmp_path_factory.mktemp("host")) as running:
        yield running
