#!/usr/bin/env python3
"""What requests for tables and leases cost, by each way of `STORAGE_CLIENT`: `python -m bench.storage`

Both ways ask a real Azurite (which needs dev/node_modules) in turns. It prints our own CPU time in microseconds, the
best of all rounds: Azurite's own and the waiting for it are not in it. "no network" is the package's upsert over a
transport that answers at once, which is what remains of it over any connection.
"""

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from azure.core.pipeline.transport import HttpTransport, RequestsTransportResponse
from azure.data.tables import TableServiceClient, UpdateMode
from requests import Response

from medtech.storage import lease
from medtech.storage.connection import Storage
from medtech.storage.payload import split
from medtech.storage.table import Entity, Operation, Table, quoted
from tests.azurite import ACCOUNT_KEY, Azurite

ROUNDS = 9
PAGE_ROWS = 1_000
SEGMENT_BYTES = 4_096


def _row(partition_key: str, row_key: str, payload_bytes: int) -> dict[str, Any]:
    """As the buffer keeps a segment."""
    sizes = {"stored_bytes": payload_bytes, "unpacked_bytes": 3 * payload_bytes, "hub": "hub|0003"}
    return {"PartitionKey": partition_key, "RowKey": row_key, **sizes, **split(os.urandom(payload_bytes))}


SEGMENT = _row("002|20220312100500", "0003|00000000000000001234|abcdef", SEGMENT_BYTES)
ROWS = [_row("003|20220312100500", f"0003|{number:020d}|abcdef", 300) for number in range(PAGE_ROWS)]
CHANGES = [Operation("merge", row) for row in ROWS[:100]]


def _of_table(ask: Callable[[Table], object]) -> Callable[[Storage], object]:
    return lambda storage: ask(storage.table("bench"))


def _rows(table: Table, of: Entity) -> list[Entity]:
    return list(table.query(f"PartitionKey eq {quoted(of['PartitionKey'])}"))


def _lease(storage: Storage) -> None:
    """Asks for one and gives it back."""
    if (held := lease.acquire(storage, "bench")) is not None:
        held.release()


REQUESTS: dict[str, tuple[Callable[[Storage], object], int]] = {
    "upsert of a segment": (_of_table(lambda table: table.upsert(SEGMENT, merge=True)), 50),
    "get": (_of_table(lambda table: table.get(SEGMENT["PartitionKey"], SEGMENT["RowKey"])), 50),
    "query of one row": (_of_table(lambda table: _rows(table, SEGMENT)), 50),
    "page of 1,000 rows": (_of_table(lambda table: _rows(table, ROWS[0])), 3),
    "transaction of 100": (_of_table(lambda table: table.transact(CHANGES)), 5),
    "lease": (_lease, 20),
}
"""What is asked, and how often in a round."""


class _AnswersAtOnce(HttpTransport[Any, Any]):
    def open(self) -> None: ...

    def close(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def send(self, request: Any, **_: Any) -> Any:
        response = Response()
        response.status_code, response._content = 204, b""
        response.headers["etag"] = "W/\"datetime'2022-03-12T10%3A05%3A00.0000000Z'\""
        return RequestsTransportResponse(request, response)


def _spent(ask: Callable[[], object], times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        ask()
    return (time.process_time() - started) / times * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as location:
        server = Azurite(Path(location))
        server.start()
        environment = {"BufferStorage": server.connection_string}
        try:
            opened = [Storage(environment=environment, through_library=library) for library in (False, True)]
            table = opened[0].table("bench")
            table.change([Operation("upsert", row) for row in ROWS])
            table.upsert(SEGMENT)
            print(f"{'us CPU':22}{'direct':>10}{'library':>10}{'ratio':>8}")
            for name, (ask, times) in REQUESTS.items():
                best = [float("inf")] * 2
                for _ in range(ROUNDS):
                    for number, storage in enumerate(opened):
                        best[number] = min(best[number], _spent(partial(ask, storage), times))
                print(f"{name:22}{best[0]:10,.0f}{best[1]:10,.0f}{best[0] / best[1]:8.2f}")
        finally:
            server.stop()
    nowhere = f"AccountName=account;AccountKey={ACCOUNT_KEY};TableEndpoint=http://127.0.0.1:1/account"
    service = TableServiceClient.from_connection_string(nowhere, transport=_AnswersAtOnce())
    client = service.get_table_client("bench")
    floor = min(_spent(lambda: client.upsert_entity(SEGMENT, mode=UpdateMode.MERGE), 50) for _ in range(ROUNDS))
    print(f"{'upsert, no network':22}{'':10}{floor:10,.0f}")


if __name__ == "__main__":
    main()
