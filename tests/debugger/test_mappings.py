"""`GET /api/mappings` against a real Azurite."""

import json
from pathlib import Path

import pytest

from medtech.debugger.mappings import answer
from medtech.errors import Unavailable
from medtech.mapping.device import DeviceMapping, load_device_mapping
from medtech.mapping.in_force import MappingStore
from medtech.storage.connection import Storage
from tests.azurite import nobody

TEXT = '{"templateType": "CollectionContent", "template": []}\n'


def store(storage: Storage, source: Path) -> MappingStore[DeviceMapping]:
    return MappingStore("device", str(source), load_device_mapping, storage)


def test_the_text_in_force_comes_as_it_was_deployed(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "mapping.json"
    source.write_text(TEXT)
    mapping = store(storage, source)
    assert json.loads(answer(mapping, mapping).get_body()) == {"deviceMapping": None, "fhirMapping": None}
    mapping.in_force()
    source.write_text("{")
    assert json.loads(answer(mapping, mapping).get_body()) == {"deviceMapping": TEXT, "fhirMapping": TEXT}


def test_storage_that_is_away_is_told(tmp_path: Path) -> None:
    mapping = store(nobody(), tmp_path / "mapping.json")
    with pytest.raises(Unavailable):
        answer(mapping, mapping)
