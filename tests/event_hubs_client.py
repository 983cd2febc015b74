"""Microsoft's client of Event Hubs in the process of the tests."""

import threading

import pytest

LEAVES_SOCKETS = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
"""It leaves open the socket of a connection that came to nothing, as with a server that is too busy to answer in time,
and then tries again. A module that uses it has this as `pytestmark`."""


def wait_for_threads() -> None:
    """Until the threads of clients that were closed have ended, and with them the sockets that they left open."""
    for thread in threading.enumerate():
        if "_load_balancing" in thread.name:
            thread.join(10)
            assert not thread.is_alive()
