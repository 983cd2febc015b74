"""Which addresses can be read on the way to them."""

from ipaddress import ip_address


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
