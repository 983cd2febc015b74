"""The parts of the app are put together as its settings say."""

import pytest

from medtech import parts
from medtech.settings import Settings
from medtech.storage.direct.leases import DirectLeases
from medtech.storage.direct.tables import DirectTables
from medtech.storage.library.leases import LibraryLeases
from medtech.storage.library.tables import LibraryTables
from tests.usable_settings import USABLE_SETTINGS


@pytest.mark.parametrize(
    ("chosen", "tables", "leases"),
    [("direct", DirectTables, DirectLeases), ("Library", LibraryTables, LibraryLeases)],
)
def test_storage_is_asked_as_storage_client_says(
    monkeypatch: pytest.MonkeyPatch, chosen: str, tables: type, leases: type
) -> None:
    for name, value in USABLE_SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(parts, "settings", lambda: Settings(storage_client=chosen))
    monkeypatch.setattr(parts, "storage", parts.storage.__wrapped__)  # type: ignore[attr-defined]
    for storage in (parts.storage(), parts.onlooker.__wrapped__().storage):  # type: ignore[attr-defined]
        assert (type(storage.tables()), type(storage.leases())) == (tables, leases)
        storage.close()
