"""The document that device templates match: what a message is to a mapping."""

from collections.abc import Mapping
from typing import Any

from medtech.dotnet.tokens import Text


def message_document(body: Any, properties: Mapping[str, Any], system_properties: Mapping[str, Any]) -> dict[str, Any]:
    """The parsed body and the metadata; strings of the metadata are Texts, which never become dates."""
    return {
        "Body": body,
        "Properties": {name: Text(value) if type(value) is str else value for name, value in properties.items()},
        "SystemProperties": {
            name: Text(value) if type(value) is str else value for name, value in system_properties.items()
        },
    }
