"""How the storage packages send requests: no longer than the deadline in force allows, whatever their retries say.

Imported late, as the packages themselves are.
"""

from typing import Any

from azure.core.pipeline.transport import RequestsTransport

from medtech import deadline


class BoundedTransport(RequestsTransport):  # type: ignore[misc]  # azure-core's types are lazy imports
    """Every attempt of every call comes through here, and so do the waits between them.

    Past the deadline it raises OutOfTime, which the packages do not know and therefore do not retry.
    """

    def send(self, request: Any, **kwargs: Any) -> Any:
        left = deadline.ask("storage was asked for everything")
        connect = min(kwargs.pop("connection_timeout", self.connection_config.timeout), left / 2)
        # Together at most what is left: a connection may take all of its time, and the answer then all of its own.
        read = min(kwargs.pop("read_timeout", self.connection_config.read_timeout), left - connect)
        return super().send(request, connection_timeout=connect, read_timeout=read, **kwargs)

    def sleep(self, duration: float) -> None:
        """The wait before a retry; a service may ask for a long one (`Retry-After`)."""
        super().sleep(min(duration, deadline.seconds_left()))
