"""What the cache keeps, for whom, and for how long."""

from medtech.model import ResourceIdentity
from medtech.persist.identity.cache import IdentityCache, IdentityKey

ONE, OTHER = ResourceIdentity("d", "p1", None), ResourceIdentity("d", "p2", "e")


def test_the_key_is_device_patient_and_encounter_together() -> None:
    cache = IdentityCache(60)
    cache.put(IdentityKey("device", "one", None), ONE)
    cache.put(IdentityKey("device", "other", "visit"), OTHER)
    assert cache.get(IdentityKey("device", "one", None)) == ONE
    assert cache.get(IdentityKey("device", "other", "visit")) == OTHER
    for unknown in (("device", None, None), ("device", "other", None), ("device", "one", "visit")):
        assert cache.get(IdentityKey(*unknown)) is None


def test_an_identity_is_kept_for_so_many_seconds() -> None:
    now = 1000.0
    cache = IdentityCache(60, clock=lambda: now)
    key = IdentityKey("device", None, None)
    cache.put(key, ONE)
    now += 59.9
    assert cache.get(key) == ONE
    now += 0.1
    assert cache.get(key) is None


def test_none_is_kept_for_no_seconds() -> None:
    cache = IdentityCache(0, clock=lambda: 1000.0)
    key = IdentityKey("device", None, None)
    cache.put(key, ONE)
    assert cache.get(key) is None


def test_beyond_its_bound_what_was_used_longest_ago_goes() -> None:
    cache = IdentityCache(60, bound=2)
    first, second, third = (IdentityKey(name, None, None) for name in ("1", "2", "3"))
    cache.put(first, ONE)
    cache.put(second, ONE)
    cache.get(first)
    cache.put(third, ONE)
    assert [cache.get(key) for key in (first, second, third)] == [ONE, None, ONE]
