"""Addresses: what may be the base of a FHIR server, and which can be read on the way to them."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def fault_in_base(address: str) -> str | None:
    """What is wrong with the base address of a FHIR server, as the end of a sentence about it; None if nothing is."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:  # brackets that do not match, a port that is none
        return "is not an address"
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        return "is not an address"
    if "@" in parts.netloc:
        # It would be sent in place of the credentials, and the address is told in health and in logs.
        return (
            "holds a user. Set FHIR_AUTHENTICATION to basic, FHIR_USERNAME and FHIR_PASSWORD, and the address without "
            "them"
        )
    return None


def in_the_clear(scheme: str, host: str) -> bool:
    """Whether what is sent there crosses a network unencrypted: plain http to another machine than this one."""
    return scheme == "http" and not is_this_machine(host)


def is_this_machine(host: str) -> bool:
    """By name or loopback address; no name is resolved, which somebody else could answer."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
