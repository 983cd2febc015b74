"""How the storage packages send requests: no longer than the deadline in force allows, whatever their retries say.

Imported late, as the packages themselves are.
"""

import math
from typing import Any

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from medtech import deadline
from medtech.side_counts import THROTTLED_STATUSES, Throttled, count
from medtech.storage.kept_connections import POOLS

# As azure-core's own: its policies say what is sent again.
_NO_RETRIES = Retry(total=False, redirect=False, raise_on_status=False)
_WAITS = ("Retry-After", "retry-after-ms", "x-ms-retry-after-ms")


class _Adapter(HTTPAdapter):
    """Keeps connections as `kept_connections` has it, those to a proxy too."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = POOLS
        return manager


class BoundedTransport(RequestsTransport):  # type: ignore[misc]  # azure-core's types are lazy imports
    """Every attempt of every call comes through here.

    Past the deadline it raises OutOfTime, which the packages do not know and therefore do not retry.
    """

    def _init_session(self, session: requests.Session) -> None:
        super()._init_session(session)
        adapter = _Adapter(max_retries=_NO_RETRIES)
        for scheme in POOLS:
            session.mount(f"{scheme}://", adapter)

    def send(self, request: Any, **kwargs: Any) -> Any:
        left = deadline.ask("all was read from storage and written to it")
        connect = min(kwargs.pop("connection_timeout", self.connection_config.timeout), left / 2)
        # Together at most what is left: a connection may take all of its time, and the answer then all of its own.
        read = min(kwargs.pop("read_timeout", self.connection_config.read_timeout), left - connect)
        response = super().send(request, connection_timeout=connect, read_timeout=read, **kwargs)
        if response.status_code in THROTTLED_STATUSES:
            count(Throttled("storage"))
        if left < math.inf:
            # The packages wait for as long as the service asks; without its word, for a second or two.
            for name in _WAITS:
                response.headers.pop(name, None)
        return response
