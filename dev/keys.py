"""The access keys of the local host, generated once and kept in its data folder."""

import hmac
import json
import secrets
from pathlib import Path
from typing import NamedTuple


class Keys(NamedTuple):
    """`master` opens everything, `function` only what has authLevel function."""

    master: str
    function: str

    def open(self, auth_level: str, given: str) -> bool:
        """Whether a key may call a function with this authLevel (anonymous, function or admin)."""
        if auth_level == "anonymous" or hmac.compare_digest(given.encode(), self.master.encode()):
            return True
        return auth_level == "function" and hmac.compare_digest(given.encode(), self.function.encode())


def load_keys(data_folder: Path) -> Keys:
    """The keys in the folder's `keys.json`; generated, and stored readable by the owner only, if there are none."""
    path = data_folder / "keys.json"
    if path.exists():
        return Keys(**json.loads(path.read_text()))
    keys = Keys(master=secrets.token_urlsafe(32), function=secrets.token_urlsafe(32))
    data_folder.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(keys._asdict()))
    return keys
