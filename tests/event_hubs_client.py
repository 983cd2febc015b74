"""Microsoft's client of Event Hubs in the process of the tests."""

import pytest

LEAVES_SOCKETS = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
"""It leaves open the socket of a connection that came to nothing, as with a server that is too busy to answer in time,
and then tries again. A module that uses it has this as `pytestmark`."""
