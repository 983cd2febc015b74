"""Storage accounts that hold a part of the buffer, beside the first one, which holds everything: how they are named.

`BufferStorage__furtherAccounts` is a list, separated by commas. An entry is one of

    two                                     an account of Azure, opened by the app's identity
    https://two.table.core.windows.net      the address of an account's tables, opened by the app's identity
    DefaultEndpointsProtocol=…;AccountKey=… a connection string

and with `-` before it, an account that is only emptied: what is in it is flushed, and nothing more is written to it.
The first account has a setting of its own since the Functions host reads that one too, and takes a single account.
"""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from medtech.errors import SettingInvalid

PART = "furtherAccounts"
SETTING = f"BufferStorage__{PART}"

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_KEY = re.compile(r"(?:^|;)\s*(?:AccountKey|SharedAccessSignature|UseDevelopmentStorage)\s*=", re.IGNORECASE)
_RETIRED = "-"


def is_list(name: str) -> bool:
    """Whether a setting is the list: as the other parts of a connection, in any case."""
    return name.startswith("BufferStorage__") and name.lower() == SETTING.lower()


class Entry(NamedTuple):
    """`place` is the host and path of the account's tables: the same for every way to name it, and no secret.

    `connection_string` or `table_address` is set.
    """

    place: str
    connection_string: str
    table_address: str
    retired: bool


def read(text: str, first: str) -> list[Entry]:
    """The accounts of the list, in its order; `first` is the place of the first account.

    Raises SettingInvalid. It names an entry by its number, since the text can hold a key.
    """
    found: list[Entry] = []
    for number, item in enumerate(text.split(","), start=1):
        name = item.strip()
        entry = _entry(number, name.removeprefix(_RETIRED).strip(), name.startswith(_RETIRED))
        if entry.place == first:
            raise SettingInvalid(
                f"{SETTING}: entry {number} is the first account, which the buffer is in anyway. Take it off the list."
            )
        if entry.place in (other.place for other in found):
            raise SettingInvalid(f"{SETTING}: entry {number} is an account that an entry before it names. Take it off.")
        found.append(entry)
    return found


def place_of_address(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}".lower()


def place_of_connection_string(text: str) -> str:
    """Empty if the text does not say where the tables are."""
    parts = {
        name.strip().lower(): value.strip() for name, _, value in (each.partition("=") for each in text.split(";"))
    }
    if endpoint := parts.get("tableendpoint"):
        return place_of_address(endpoint)
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        return "127.0.0.1:10002/devstoreaccount1"
    account = parts.get("accountname")
    return f"{account}.table.{parts.get('endpointsuffix') or 'core.windows.net'}".lower() if account else ""


def _entry(number: int, name: str, retired: bool) -> Entry:
    if _ACCOUNT.fullmatch(name):
        address = f"https://{name}.table.core.windows.net"
        return Entry(place_of_address(address), "", address, retired)
    if name.lower().startswith("https://") and place_of_address(name) and not urlsplit(name).query:
        return Entry(place_of_address(name), "", name, retired)
    if _KEY.search(name) and (place := place_of_connection_string(name)):
        return Entry(place, name, "", retired)
    raise SettingInvalid(
        f"{SETTING}: entry {number} is neither the name of a storage account (3 to 24 small letters and digits), nor "
        "the https:// address of its tables, nor a connection string. Entries are separated by commas."
    )
