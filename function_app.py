"""The triggers of the app. What each does is behind one call into `medtech`."""

import os
from typing import List  # noqa: UP035 - the worker runtime refuses list[...] as a trigger's type

import azure.functions as func

from medtech import application
from medtech.setup import platform
from medtech.storage.connection import setting_in_use

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.function_name("normalize")
@app.event_hub_message_trigger(
    arg_name="events",
    connection="EventHubConnection",
    event_hub_name="%EVENT_HUB_NAME%",
    consumer_group=os.environ.get("EVENT_HUB_CONSUMER_GROUP") or "$Default",
    cardinality=func.Cardinality.MANY,
    # As text the host would decode bodies, and spoil what is not UTF-8.
    data_type=func.DataType.BINARY,
)
# Without a retry policy the checkpoint moves past a batch whose function raised, and the batch is lost. With it the
# checkpoint waits for as long as storage is away. The longest wait is also what each further death of the worker costs.
@app.retry(
    strategy="exponential_backoff",
    max_retry_count="-1",
    minimum_interval="00:00:05",
    maximum_interval="00:01:00",
)
def normalize(events: List[func.EventHubEvent], context: func.Context) -> None:  # noqa: UP006
    """Device messages to measurements in the buffer; returns when they are stored."""
    application.ingest(events, context)


@app.function_name("flush")
@app.timer_trigger(arg_name="timer", schedule=os.environ.get("FLUSH_SCHEDULE") or "*/30 * * * * *")
def flush(timer: func.TimerRequest, context: func.Context) -> None:
    """Replay jobs, to measurements in the buffer; windows that are due, to Observations in the FHIR server, or by
    FLUSH_FANOUT to messages that `flush_shard` gets."""
    application.flush(context)


if platform.flushes_by_queue(os.environ):

    @app.function_name("flush_shard")
    @app.queue_trigger(
        arg_name="message",
        queue_name=platform.FLUSH_QUEUE,
        # By the same setting as the app itself opens it.
        connection=setting_in_use() or platform.HOST_STORAGE.name,
    )
    def flush_shard(message: func.QueueMessage, context: func.Context) -> None:
        """Windows of one shard that are due, to Observations in the FHIR server."""
        application.flush_shard(message, context)


@app.function_name("validate")
@app.route("validate", methods=[func.HttpMethod.POST])
def validate(req: func.HttpRequest) -> func.HttpResponse:
    """Mappings and messages to findings, measurements and Observations; nothing is stored."""
    return application.validate(req)


@app.function_name("health")
@app.route("health", methods=[func.HttpMethod.GET])
def health(req: func.HttpRequest) -> func.HttpResponse:
    """How each part of the app is, and what to do; 503 when one is down."""
    return application.health()


@app.function_name("dead_letters")
@app.route("dead-letters", methods=[func.HttpMethod.GET], auth_level=func.AuthLevel.ADMIN)
def dead_letters(req: func.HttpRequest) -> func.HttpResponse:
    """The causes of the dead letters, without their contents."""
    return application.list_dead_letters(req)


@app.function_name("dead_letter")
@app.route("dead-letters/{id}", methods=[func.HttpMethod.GET], auth_level=func.AuthLevel.ADMIN)
def dead_letter(req: func.HttpRequest) -> func.HttpResponse:
    """One dead letter with its content."""
    return application.show_dead_letter(req)


@app.function_name("comparison")
@app.route("comparison", methods=[func.HttpMethod.GET], auth_level=func.AuthLevel.ADMIN)
def comparison(req: func.HttpRequest) -> func.HttpResponse:
    """What comparing has found, by measurement type, without values."""
    return application.show_comparison(req)


@app.function_name("difference")
@app.route("comparison/{id}", methods=[func.HttpMethod.GET], auth_level=func.AuthLevel.ADMIN)
def difference(req: func.HttpRequest) -> func.HttpResponse:
    """One difference with both sides."""
    return application.show_difference(req)


@app.function_name("replay")
@app.route("replay", methods=[func.HttpMethod.POST], auth_level=func.AuthLevel.ADMIN)
def replay(req: func.HttpRequest) -> func.HttpResponse:
    """Dead letters to a job that puts them through again; the timer works it off."""
    return application.start_replay(req)


@app.function_name("replay_status")
@app.route("replay/{job}", methods=[func.HttpMethod.GET], auth_level=func.AuthLevel.ADMIN)
def replay_status(req: func.HttpRequest) -> func.HttpResponse:
    """How far a replay job is."""
    return application.replay_status(req)


@app.function_name("debugger")
@app.route("debugger/{part?}", methods=[func.HttpMethod.GET], auth_level=func.AuthLevel.ANONYMOUS)
def debugger(req: func.HttpRequest) -> func.HttpResponse:
    """The page for those who write mappings. It holds nothing of the app: what it shows is asked for with a key."""
    return application.debugger(req)


@app.function_name("mappings")
@app.route("mappings", methods=[func.HttpMethod.GET], auth_level=func.AuthLevel.ADMIN)
def mappings(req: func.HttpRequest) -> func.HttpResponse:
    """The texts of the mappings in force."""
    return application.show_mappings()
