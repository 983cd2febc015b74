"""Queue triggers over Azurite's queues, with the rules of the Storage queues extension."""

import base64
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from azure.core.exceptions import ResourceNotFoundError

from dev.processes import LocalRunFailed
from tests.dev.conftest import SampleHost
from tests.dev.waiting import wait_until

Start = Callable[..., SampleHost]
QUEUES = "AzureFunctionsJobHost__extensions__queues__"


def bodies(host: SampleHost, function: str = "queued") -> list[str]:
    return [call["body"] for call in host.seen(function)]


def raw_poison(host: SampleHost) -> list[str]:
    try:
        return [each.content for each in host.poison_queue.peek_messages(32)]
    except ResourceNotFoundError:
        return []


def poisoned(host: SampleHost) -> list[str]:
    return [base64.b64decode(content).decode() for content in raw_poison(host)]


def test_a_message_reaches_the_function_with_its_metadata_and_is_deleted(host: SampleHost) -> None:
    host.put_messages("one")
    wait_until(lambda: bodies(host, "queued-end") and not host.messages_left())
    [call] = host.seen("queued")
    assert (call["body"], call["dequeue_count"]) == ("one", 1)
    assert call["id"] and call["pop_receipt"]
    times = (call[name] for name in ("inserted", "expires", "next_visible"))
    inserted, expires, visible = map(datetime.fromisoformat, times)
    assert expires - inserted == timedelta(days=7)
    assert timedelta(minutes=9) < visible - inserted < timedelta(minutes=11)


def test_a_message_that_fails_comes_again_until_it_is_poison(start: Start) -> None:
    host = start(told=["fail"], **{f"{QUEUES}maxDequeueCount": "3"})
    host.put_messages("bad")
    wait_until(lambda: poisoned(host) == ["bad"] and not host.messages_left())
    assert [call["dequeue_count"] for call in host.seen("queued")] == [1, 2, 3]
    assert host.invocations("queued") == {"started": 3, "succeeded": 0, "failed": 3}


def test_a_message_that_fails_is_hidden_for_the_visibility_timeout(start: Start) -> None:
    host = start(told=["fail"], **{f"{QUEUES}visibilityTimeout": "01:00:00"})
    host.put_messages("bad")
    wait_until(lambda: host.invocations("queued")["failed"] == 1)
    host.untell("fail")
    host.put_messages("good")
    wait_until(lambda: bodies(host, "queued-end") == ["good"] and host.messages_left() == 1)
    assert (bodies(host), poisoned(host)) == (["bad", "good"], [])


def test_a_worker_that_dies_fails_its_message_and_the_next_one_gets_it(start: Start) -> None:
    host = start(told=["hold"], longest_wait_seconds=0.5)
    host.put_messages("one")
    wait_until(lambda: bodies(host) == ["one"])
    host.kill_worker()
    host.untell("hold")
    wait_until(lambda: bodies(host, "queued-end") == ["one"])
    assert [call["dequeue_count"] for call in host.seen("queued")] == [1, 2]


def test_no_more_than_the_batch_and_the_threshold_are_under_way(start: Start) -> None:
    host = start(told=["hold"], **{f"{QUEUES}batchSize": "2", f"{QUEUES}newBatchThreshold": "1"})
    host.put_messages(*"abcdef")
    wait_until(lambda: len(bodies(host)) == 2)
    host.untell("hold")
    wait_until(lambda: len(bodies(host, "queued-end")) == 6)
    # A batch of two is asked for while one is under way: at most three are.
    under_way = [line["under_way"] for line in host.seen("queued")]
    assert max(under_way) <= 3


def test_what_cannot_be_decoded_is_poison_at_once(host: SampleHost) -> None:
    host.put_messages()
    host.queue.send_message("not base64!")
    wait_until(lambda: raw_poison(host) == ["not base64!"])
    assert "not base64!" not in bodies(host)


def test_without_encoding_texts_are_taken_as_they_are(start: Start) -> None:
    host = start(**{f"{QUEUES}messageEncoding": "none"})
    host.put_messages()
    host.queue.send_message("as it is!")
    wait_until(lambda: bodies(host, "queued-end") == ["as it is!"])


def test_a_host_that_stops_lets_messages_end_and_takes_no_more(start: Start) -> None:
    host = start(told=["hold"], **{f"{QUEUES}batchSize": "1", f"{QUEUES}newBatchThreshold": "0"})
    host.put_messages("one", "two")
    wait_until(lambda: len(bodies(host)) == 1)
    host.untell("hold")
    host.host.stop()
    ended = len(bodies(host, "queued-end"))
    assert (ended >= 1, host.messages_left()) == (True, 2 - ended)


def test_a_queue_that_comes_later_is_found(host: SampleHost) -> None:
    host.queue.delete_queue()
    host.put_messages("later")
    wait_until(lambda: "later" in bodies(host, "queued-end"))


def test_several_workers_share_the_invocations(start: Start) -> None:
    host = start(longest_wait_seconds=0.1, FUNCTIONS_WORKER_PROCESS_COUNT="3")
    wait_until(lambda: len(host.worker_pids) == 3)
    host.put_messages(*map(str, range(12)))
    wait_until(lambda: len(bodies(host, "queued-end")) == 12)
    pids = [call["pid"] for call in host.seen("queued")]
    assert {pids.count(pid) for pid in host.worker_pids} == {4}


def test_while_one_of_several_workers_is_down_the_others_work(start: Start) -> None:
    host = start(longest_wait_seconds=0.1, FUNCTIONS_WORKER_PROCESS_COUNT="2")
    wait_until(lambda: len(host.worker_pids) == 2)
    first, second = host.worker_pids
    host.kill_worker()
    host.put_messages(*"abcd")
    wait_until(lambda: len(bodies(host, "queued-end")) == 4)
    assert first not in {call["pid"] for call in host.seen("queued")}
    wait_until(lambda: len(host.worker_pids) == 2)
    assert second in host.worker_pids


def test_a_connection_that_is_missing_is_told(start: Start) -> None:
    with pytest.raises(LocalRunFailed, match="Function queued: set QueueConnection"):
        start(QueueConnection="")
