"""The parts of the app are put together as its settings say."""

import pytest

from medtech import parts
from medtech.settings import Settings
from medtech.storage.direct.tables import DirectTables
from medtech.storage.library import LibraryTables
from tests.usable_settings import USABLE_SETTINGS


@pytest.mark.parametrize(("chosen", "kind"), [("direct", DirectTables), ("Library", LibraryTables)])
def test_tables_are_asked_as_table_client_says(monkeypatch: pytest.MonkeyPatch, chosen: str, kind: type) -> None:
    for name, value in USABLE_SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(parts, "settings", lambda: Settings(table_client=chosen))
    monkeypatch.setattr(parts, "storage", parts.storage.__wrapped__)  # type: ignore[attr-defined]
    for storage in (parts.storage(), parts.onlooker.__wrapped__().storage):  # type: ignore[attr-defined]
        assert type(storage.tables()) is kind
        storage.close()
