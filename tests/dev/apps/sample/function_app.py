"""An app that the tests of the local host drive.

Each function records what it was given, one JSON line a call, in a file of the folder in the setting OBSERVED. Files
that a test creates there say what it does: `fail` (raise while the file is there), `hold` (wait until it is gone).
"""

import json
import logging
import os
import time
from pathlib import Path
from typing import List  # noqa: UP035 - the runtime refuses list[...] as the type of a trigger's parameter

import azure.functions as func

app = func.FunctionApp()
observed = Path(os.environ["OBSERVED"])


def note(function: str, **what: object) -> None:
    with (observed / f"{function}.jsonl").open("a") as file:
        file.write(json.dumps({"pid": os.getpid(), **what}) + "\n")


def obey() -> None:
    while (observed / "hold").exists():
        time.sleep(0.01)
    if (observed / "fail").exists():
        raise RuntimeError("told to fail")


def note_batch(function: str, events: list[func.EventHubEvent], context: func.Context) -> None:
    metadata = events[0].metadata
    note(
        function,
        bodies=[event.get_body().decode("latin-1") for event in events],
        sequence_numbers=[event.sequence_number for event in events],
        enqueued_times=[event.enqueued_time.isoformat() for event in events],
        partition_keys=[event.partition_key for event in events],
        iothub=[event.iothub_metadata for event in events],
        properties=metadata["PropertiesArray"],
        system_properties=metadata["SystemPropertiesArray"],
        partition_context=metadata["PartitionContext"],
        retry=[context.retry_context.retry_count, context.retry_context.max_retry_count],
    )


def batch(function: str, retry: dict[str, str] | None):  # a function for each kind of retry policy
    def run(events: List[func.EventHubEvent], context: func.Context) -> None:  # noqa: UP006
        note_batch(function, events, context)
        obey()

    run = app.event_hub_message_trigger(
        arg_name="events",
        event_hub_name="%HUB%",
        connection="HubConnection",
        consumer_group=function,
        cardinality="many",
        data_type=func.DataType.BINARY,
    )(run)
    if retry is not None:
        run = app.retry(**retry)(run)
    return app.function_name(function)(run)


batch("unprotected", None)
batch("patient", {"strategy": "fixed_delay", "max_retry_count": "-1", "delay_interval": "00:00:01"})
batch(
    "twice",
    {
        "strategy": "exponential_backoff",
        "max_retry_count": "2",
        "minimum_interval": "00:00:00",
        "maximum_interval": "00:00:01",
    },
)


messages_under_way: set[str] = set()


@app.queue_trigger(arg_name="message", queue_name="%QUEUE%", connection="QueueConnection")
def queued(message: func.QueueMessage) -> None:
    messages_under_way.add(message.id)
    note(
        "queued",
        under_way=len(messages_under_way),
        body=message.get_body().decode(),
        id=message.id,
        dequeue_count=message.dequeue_count,
        inserted=message.insertion_time.isoformat(),
        expires=message.expiration_time.isoformat(),
        next_visible=message.time_next_visible.isoformat(),
        pop_receipt=message.pop_receipt,
    )
    try:
        obey()
    finally:
        messages_under_way.discard(message.id)
    note("queued-end", body=message.get_body().decode())


@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE%", run_on_startup=False)
def tick(timer: func.TimerRequest) -> None:
    note("tick", at="start", past_due=timer.past_due)
    obey()
    note("tick", at="end")


@app.timer_trigger(arg_name="timer", schedule="0 0 3 * * *")
def nightly(timer: func.TimerRequest) -> None:
    note("nightly")


@app.route(route="items/{id}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def item(req: func.HttpRequest) -> func.HttpResponse:
    document = {"id": req.route_params["id"], "q": req.params.get("q"), "header": req.headers.get("x-a")}
    return func.HttpResponse(json.dumps(document), mimetype="application/json", headers={"x-b": "2"})


@app.route(route="echo", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.get_body(), status_code=201)


@app.route(route="secret", auth_level=func.AuthLevel.ADMIN)
def secret(req: func.HttpRequest) -> str:
    return "opened"


@app.route(route="talk", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
def talk(req: func.HttpRequest) -> func.HttpResponse:
    print("printed line")
    print("x" * (2 * 1024 * 1024))
    print("line after a long one")
    logging.getLogger("sample.talk").debug("debug line")
    logging.getLogger("sample.talk").warning("warning line")
    try:
        raise ValueError("caught fault")
    except ValueError:
        logging.getLogger("sample.talk").exception("with traceback")
    raise KeyError("uncaught fault")
