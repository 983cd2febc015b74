"""Connections to storage that are kept for the next request, but not for long."""

import time

from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from medtech.final_response import FinalResponse

IDLE_SECONDS = 60.0
"""How long a connection is kept without a request. Azure's load balancers and gateways forget an idle one after four
minutes, mostly without a word: what is sent on it then has no answer before the timeout, and a transaction, which is
not sent twice, fails."""


class _Kept(HTTPConnection):
    response_class = FinalResponse
    _used = 0.0

    @property
    def is_connected(self) -> bool:
        """urllib3 asks this of a connection that it takes from its pool, and opens it anew if not."""
        return super().is_connected and time.monotonic() - self._used <= IDLE_SECONDS

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3's own
        response = super().getresponse()
        self._used = time.monotonic()
        return response


class _KeptTls(_Kept, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Kept


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _KeptTls


POOLS: dict[str, type[HTTPConnectionPool]] = {"http": _Pool, "https": _TlsPool}
"""As `PoolManager.pool_classes_by_scheme`."""
