"""What becomes of events when functions fail, workers die and hosts stop: the local host is as strict as Azure."""

from collections.abc import Callable

from dev.checkpoints import Checkpoint
from tests.dev.conftest import SampleHost
from tests.dev.waiting import wait_until

Start = Callable[..., SampleHost]


def bodies(host: SampleHost, function: str) -> list[str]:
    return [body for batch in host.seen(function) for body in batch["bodies"]]


def test_a_function_without_retry_policy_that_fails_loses_its_batch(start: Start) -> None:
    host = start()
    host.tell("fail")
    host.post_events([{"body": "lost"}])
    host.wait_until_read(consumer_group="unprotected")
    assert host.invocations("unprotected") == {"started": 1, "succeeded": 0, "failed": 1}
    host.untell("fail")
    host.post_events([{"body": "next"}])
    host.wait_until_read()
    assert bodies(host, "unprotected") == ["lost", "next"]  # seen once, and never again


def test_a_function_with_retry_policy_gets_its_batch_until_it_succeeds(start: Start) -> None:
    host = start()
    host.tell("fail")
    host.post_events([{"body": "kept"}])
    wait_until(lambda: len(host.seen("patient")) >= 2)
    assert host.unread(consumer_group="patient") == 1
    host.untell("fail")
    host.wait_until_read(consumer_group="patient")
    assert [batch["retry"] for batch in host.seen("patient")][:2] == [[0, -1], [1, -1]]
    assert host.invocations("patient")["succeeded"] == 1


def test_the_wait_before_a_retry_can_be_cut_short(start: Start) -> None:
    host = start(longest_wait_seconds=0.0)
    host.tell("fail")
    host.post_events([{"body": "kept"}])
    wait_until(lambda: len(host.seen("patient")) > 20)


def test_a_batch_is_lost_when_its_retries_run_out(start: Start) -> None:
    host = start()
    host.tell("fail")
    host.post_events([{"body": "lost"}])
    host.wait_until_read(consumer_group="twice")
    assert [batch["retry"] for batch in host.seen("twice")] == [[0, 2], [1, 2], [2, 2]]
    assert host.invocations("twice") == {"started": 3, "succeeded": 0, "failed": 3}


def test_a_worker_that_dies_in_an_invocation_is_replaced_and_the_batch_delivered_again(start: Start) -> None:
    host = start()
    host.tell("hold")
    host.post_events([{"body": "kept"}])
    wait_until(lambda: host.seen("patient"))
    host.kill_worker()
    host.untell("hold")
    host.wait_until_read(consumer_group="patient")
    first, second = host.seen("patient")[:2]
    assert first["bodies"] == second["bodies"] == ["kept"]
    assert first["pid"] != second["pid"]
    assert host.invocations("patient") == {"started": 2, "succeeded": 1, "failed": 1}


def test_a_dying_worker_is_a_failure_like_any_other(start: Start) -> None:
    """Without a retry policy the batch is lost then too, as in Azure, where the invocations of a dead worker fail."""
    host = start()
    host.tell("hold")
    host.post_events([{"body": "lost"}])
    wait_until(lambda: host.seen("unprotected"))
    host.kill_worker()
    host.untell("hold")
    host.wait_until_read(consumer_group="unprotected")
    assert host.invocations("unprotected") == {"started": 1, "succeeded": 0, "failed": 1}


def test_a_stolen_partition_is_read_by_two_at_once_from_the_last_checkpoint(start: Start) -> None:
    host = start()
    host.post_events([{"body": "done", "partition": "1"}])
    host.wait_until_read()
    host.tell("hold")
    host.post_events([{"body": "in hand", "partition": "1"}])
    wait_until(lambda: host.seen("patient")[1:])
    host.post_events([{"body": "next", "partition": "1"}])
    host.steal_partition("1")
    wait_until(lambda: host.seen("patient")[2:])
    assert [batch["bodies"] for batch in host.seen("patient")] == [["done"], ["in hand"], ["in hand", "next"]]
    assert host.unread(consumer_group="patient") == 2
    host.untell("hold")
    host.wait_until_read()
    host.post_events([{"body": "after", "partition": "1"}])
    host.wait_until_read()
    assert bodies(host, "patient") == ["done", "in hand", "in hand", "next", "after"]


def test_a_partition_can_be_read_again_from_any_event(start: Start) -> None:
    host = start()
    host.post_events([{"body": body, "partition": "1"} for body in ("first", "second", "third")])
    host.wait_until_read()
    host.steal_partition("1", 1)
    host.wait_until_read()
    assert bodies(host, "patient") == ["first", "second", "third", "second", "third"]


def test_no_event_is_passed_over_when_a_partition_is_read_again(start: Start) -> None:
    host = start()
    host.post_events([{"body": "done", "partition": "1"}])
    host.wait_until_read()
    host.tell("hold")
    host.post_events([{"body": body, "partition": "1"} for body in ("in hand", "next")])
    wait_until(lambda: host.seen("patient")[1:])
    host.steal_partition("1", 2)
    wait_until(lambda: host.seen("patient")[2:])
    host.untell("hold")
    host.wait_until_read()
    assert host.seen("patient")[-1]["bodies"] == ["in hand", "next"]


def test_a_host_that_is_killed_delivers_again_from_the_checkpoint(start: Start) -> None:
    host = start()
    host.post_events([{"body": "done", "partition": "1"}])
    host.wait_until_read()
    host.tell("hold")
    host.post_events([{"body": "cut off", "partition": "1"}])
    wait_until(lambda: len(host.seen("unprotected")) == 2)
    host.host.kill()
    host.untell("hold")
    host.start_host()
    host.wait_until_read()
    assert bodies(host, "unprotected") == ["done", "cut off", "cut off"]


def test_a_host_that_is_stopped_finishes_the_batch_in_hand(start: Start) -> None:
    host = start()
    host.post_events([{"body": "done", "partition": "1"}])
    host.wait_until_read()
    host.restart_host()
    host.post_events([{"body": "after", "partition": "1"}])
    host.wait_until_read()
    assert bodies(host, "unprotected") == ["done", "after"]
    assert host.hub_state()["1"]["lastSequenceNumber"] == 1


def test_a_timer_follows_its_schedule(start: Start) -> None:
    host = start(schedule="* * * * * *")
    wait_until(lambda: len(host.seen("tick")) >= 4)
    assert [each["at"] for each in host.seen("tick")][:4] == ["start", "end", "start", "end"]
    assert host.invocations("nightly")["started"] == 0


def test_a_timer_that_is_running_is_not_started_again(start: Start) -> None:
    host = start(schedule="* * * * * *", told=["hold"])
    wait_until(lambda: host.seen("tick"))
    for _ in range(3):
        host.trigger_timer("tick")
    assert host.invocations("tick")["started"] == 1
    host.untell("hold")
    wait_until(lambda: host.invocations("tick")["succeeded"] >= 4)
    order = [each["at"] for each in host.seen("tick")]
    assert order[: len(order) // 2 * 2] == ["start", "end"] * (len(order) // 2)


def test_a_disabled_timer_runs_when_it_is_asked_for(start: Start) -> None:
    host = start(schedule="* * * * * *", **{"AzureWebJobs.tick.Disabled": "true"})
    assert host.run_timer("tick")
    host.tell("fail")
    assert not host.run_timer("tick")
    assert host.invocations("tick") == {"started": 2, "succeeded": 1, "failed": 1}


def test_a_timer_survives_its_worker(start: Start) -> None:
    host = start(schedule="* * * * * *")
    wait_until(lambda: host.seen("tick"))
    host.kill_worker()
    pid = host.worker_pid
    wait_until(lambda: host.seen("tick")[-1]["pid"] == pid)


def test_a_function_that_runs_too_long_takes_its_worker_with_it(start: Start) -> None:
    host = start(AzureFunctionsJobHost__functionTimeout="00:00:01")
    pid = host.worker_pid
    host.tell("hold")
    assert not host.run_timer("tick")
    host.untell("hold")
    assert host.run_timer("tick")
    assert host.worker_pid != pid


def test_a_host_with_a_retention_passes_over_what_has_expired(start: Start) -> None:
    host = start(retention_hours=1)
    expired = {"body": "expired", "enqueuedTime": "2026-03-02T08:00:00Z"}
    host.post_events([expired | {"partition": partition} for partition in ("0", "1")])
    host.post_events([{"body": "fresh", "partition": "1"}])
    host.wait_until_read()
    assert bodies(host, "patient") == ["fresh"]


def test_a_checkpoint_that_is_set_back_is_where_the_next_host_begins(start: Start) -> None:
    host = start()
    host.post_events([{"body": body, "partition": "1"} for body in ("first", "second", "third")])
    host.wait_until_read()
    host.host.stop()
    host.checkpoints("patient").write("1", Checkpoint("", 0))
    host.start_host()
    host.wait_until_read()
    assert bodies(host, "patient") == ["first", "second", "third", "second", "third"]
    assert bodies(host, "twice") == ["first", "second", "third"]
