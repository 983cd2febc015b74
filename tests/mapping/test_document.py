"""The document that device templates match."""

from medtech.dotnet.tokens import is_date, json_text, text_reading
from medtech.mapping.document import message_document


def test_texts_of_the_metadata_are_never_dates() -> None:
    moment = "2019-02-01T22:46:01Z"
    document = message_document({"at": moment}, {"at": moment, "n": 1}, {"at": moment, "n": None})
    assert list(document) == ["Body", "Properties", "SystemProperties"]
    assert is_date(document["Body"]["at"])
    for part in ("Properties", "SystemProperties"):
        assert not is_date(document[part]["at"])
        assert text_reading(document[part]["at"]) == moment
        assert json_text(document[part]["at"]) == f'"{moment}"'
    assert document["Properties"]["n"] == 1
    assert document["SystemProperties"]["n"] is None
