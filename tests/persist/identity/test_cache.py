"""What the cache keeps, under which key, and for how long it is relied on."""

import pytest

from medtech.model import ResourceIdentity
from medtech.persist.identity.cache import RESOLVED_SECONDS, Held, IdentityCache, IdentityKey

ONE, OTHER = ResourceIdentity("d", "p1", None), ResourceIdentity("d", "p2", "e")
KEY = IdentityKey("device", None, None)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_key_is_device_patient_and_encounter_together(clock: Clock) -> None:
    cache = IdentityCache(60, clock)
    cache.put(IdentityKey("device", "one", None), ONE, clock.now)
    cache.put(IdentityKey("device", "other", "visit"), OTHER, clock.now)
    assert cache.get(IdentityKey("device", "one", None)) == Held(ONE, fresh=True)
    assert cache.get(IdentityKey("device", "other", "visit")) == Held(OTHER, fresh=True)
    for unknown in (("device", None, None), ("device", "other", None), ("device", "one", "visit")):
        assert cache.get(IdentityKey(*unknown)) is None


def test_an_identity_is_fresh_for_so_many_seconds(clock: Clock) -> None:
    cache = IdentityCache(60, clock)
    cache.put(KEY, ONE, clock.now)
    clock.now += 59.9
    assert cache.get(KEY) == Held(ONE, fresh=True)
    clock.now += 0.1
    assert cache.get(KEY) == Held(ONE, fresh=False)


def test_its_age_counts_from_when_the_server_was_asked(clock: Clock) -> None:
    cache = IdentityCache(60, clock)
    asked = cache.now()
    clock.now += 50
    cache.put(KEY, ONE, asked)
    clock.now += 10
    assert cache.get(KEY) == Held(ONE, fresh=False)


def test_with_no_seconds_it_is_never_fresh(clock: Clock) -> None:
    cache = IdentityCache(0, clock)
    cache.put(KEY, ONE, clock.now)
    assert cache.get(KEY) == Held(ONE, fresh=False)


def test_a_confirmed_identity_is_fresh_again(clock: Clock) -> None:
    cache = IdentityCache(60, clock)
    cache.put(KEY, ONE, clock.now)
    clock.now += 100
    cache.confirm(KEY, ONE, clock.now)
    assert cache.get(KEY) == Held(ONE, fresh=True)


def test_another_identity_than_the_cached_one_is_not_confirmed(clock: Clock) -> None:
    """Another thread has resolved the key anew while this one read the Device."""
    cache = IdentityCache(60, clock)
    cache.put(KEY, OTHER, clock.now)
    clock.now += 100
    cache.confirm(KEY, ONE, clock.now)
    assert cache.get(KEY) == Held(OTHER, fresh=False)


def test_however_often_it_is_confirmed_it_is_resolved_anew_some_time(clock: Clock) -> None:
    cache = IdentityCache(60, clock)
    cache.put(KEY, ONE, clock.now)
    clock.now += RESOLVED_SECONDS - 1
    cache.confirm(KEY, ONE, clock.now)
    assert cache.get(KEY) == Held(ONE, fresh=True)
    clock.now += 1
    assert cache.get(KEY) is None


def test_a_longer_setting_than_that_is_kept_to(clock: Clock) -> None:
    cache = IdentityCache(2 * RESOLVED_SECONDS, clock)
    cache.put(KEY, ONE, clock.now)
    clock.now += RESOLVED_SECONDS
    assert cache.get(KEY) == Held(ONE, fresh=True)


def test_beyond_its_bound_what_was_used_longest_ago_goes(clock: Clock) -> None:
    cache = IdentityCache(60, clock, bound=2)
    first, second, third = (IdentityKey(name, None, None) for name in ("1", "2", "3"))
    cache.put(first, ONE, clock.now)
    cache.put(second, ONE, clock.now)
    cache.get(first)
    cache.put(third, ONE, clock.now)
    assert [cache.get(key) is not None for key in (first, second, third)] == [True, False, True]
