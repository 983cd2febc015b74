"""The local Event Hubs namespace: where devices and Microsoft's clients send and receive.

A Node process (dev/event_hubs) speaks AMQP 1.0 and HTTP, puts what it is sent into the partitions of the hub, as
`POST /dev/events` does, and gives receivers what is in them. It has one key, which opens nothing but what runs on this
machine.
"""

import base64
import hashlib
import hmac
import os
import time
from pathlib import Path
from urllib.parse import quote

from dev.processes import DEV_FOLDER, Server, node_command

NAMESPACE = "127.0.0.1"
"""What readers take for its name, as in the names of checkpoints."""
KEY_NAME = "local"
KEY = base64.b64encode(b"sends to the event hub of this machine and to no other").decode()


def namespace(log_folder: Path, amqp_port: int, rest_port: int, host_url: str) -> Server:
    """The server in front of the hubs at `host_url`, a hub server's or a functions host's, which need not be there
    yet."""
    command = node_command(
        DEV_FOLDER / "event_hubs" / "server.mjs",
        *("--amqp-port", str(amqp_port)),
        *("--rest-port", str(rest_port)),
        *("--host", host_url),
        *("--key-name", KEY_NAME),
    )
    environment = {**os.environ, "SHARED_ACCESS_KEY": KEY}
    return Server("event-hubs", command, [amqp_port, rest_port], log_folder, environment=environment)


def connection_string(amqp_port: int) -> str:
    """The connection string of the namespace. Clients know from its last part that there is no TLS."""
    endpoint = f"Endpoint=sb://{NAMESPACE}:{amqp_port}"
    return f"{endpoint};SharedAccessKeyName={KEY_NAME};SharedAccessKey={KEY};UseDevelopmentEmulator=true"


def token(hub: str, valid_seconds: int = 3600, key: str = KEY) -> str:
    """A shared access signature for a hub, as the header `Authorization` of the REST call takes it."""
    address = quote(f"http://127.0.0.1/{hub}", safe="")
    expiry = int(time.time()) + valid_seconds
    digest = hmac.new(key.encode(), f"{address}\n{expiry}".encode(), hashlib.sha256).digest()
    signature = quote(base64.b64encode(digest).decode(), safe="")
    return f"SharedAccessSignature sr={address}&sig={signature}&se={expiry}&skn={KEY_NAME}"
