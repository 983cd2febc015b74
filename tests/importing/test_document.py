"""Files that are imported, and files that are none."""

import json
from pathlib import Path

import pytest

from medtech.importing import document
from medtech.importing.document import Refused


def test_every_encoding_that_a_shell_writes_is_read(tmp_path: Path) -> None:
    text = json.dumps({"name": "Zürich"}, ensure_ascii=False)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        path = tmp_path / f"{encoding}.json"
        path.write_bytes(text.encode(encoding))
        assert document.read(path).text == text


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.json", b"", "is empty"),
        ("a.json", b"  \n", "is empty"),
        ("a.json", b'{"a": 1,\n "b" 2}', ":2: The file is not JSON"),
        ("a.json", b"\xff\xfe\x00", "begins as UTF-16"),
        ("a.json", b'{"a": "\xe9"}', "byte 7"),
        ("a.json", b"[" * 10_000, "nested more than"),
        ("a.bicepparam", b"using 'main.bicep'", "az bicep build-params --file"),
        ("a.bicep", b"param a string", "az bicep build --file"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Refused) as refused:
        document.read(path)
    assert told in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_beyond_all_measure_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_BYTES", 10)
    path = tmp_path / "a.json"
    path.write_text('"' + "a" * 10 + '"')
    with pytest.raises(Refused, match="more than"):
        document.read(path)
