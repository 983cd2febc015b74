"""The event hubs of a local run as a process of its own, which apps come and go beside:

    python -m dev.hub_server --folder FOLDER --port PORT --hub NAME [--partitions N] [--retention HOURS]

Apps read the files of the same folder (`python -m dev host --hubs FOLDER`). The namespace (dev/event_hubs) asks here.
"""

import argparse
import logging
import socket
import sys
from datetime import timedelta
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from dev.hub_routes import hub_routes
from dev.hubs import Hubs
from dev.processes import Server


def hub_server(
    log_folder: Path, port: int, folder: Path, hub: str, partitions: int, retention_hours: float | None
) -> Server:
    """The server at `http://127.0.0.1:PORT`, with a hub that is created if it is not in the folder."""
    options = {"--folder": str(folder), "--port": str(port), "--hub": hub, "--partitions": str(partitions)}
    if retention_hours is not None:
        options["--retention"] = str(retention_hours)
    command = [sys.executable, "-m", "dev.hub_server", *(part for option in options.items() for part in option)]
    return Server("hub", command, [port], log_folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.hub_server")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--hub", required=True)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--retention", type=float, metavar="HOURS")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
    retention = None if given.retention is None else timedelta(hours=given.retention)
    hubs = Hubs(given.folder, given.partitions, retention)
    hubs.open(given.hub)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", given.port))
        application = Starlette(routes=hub_routes(hubs, hubs.states))
        config = uvicorn.Config(application, log_config=None, access_log=False, timeout_graceful_shutdown=5)
        uvicorn.Server(config).run([listening])
    hubs.close()


if __name__ == "__main__":
    main()
