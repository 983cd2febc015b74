"""Whom a measurement is about: the ids of a message, resolved to those of Device, Patient and Encounter (SPEC 5)."""

from medtech.persist.identity.cache import IdentityKey
from medtech.persist.identity.links import Links
from medtech.persist.identity.resolve import IdentityResolver

__all__ = ["IdentityKey", "IdentityResolver", "Links"]
